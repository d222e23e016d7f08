package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"tandem/ownership"
	"tandem/store/tablepb"
)

// allActs is one act of each kind, with every field set.
func allActs() []ownership.Act {
	n := node("a")
	n.Process, n.GoneAt = "process", at(3)
	n.PublicURL, n.AdminURL, n.State, n.JoinedAt, n.DrainBy = "https://a.example", "https://a.example:7401", ownership.NodeDraining, at(1), at(2)
	fitness := map[ownership.NodeID]ownership.Fitness{
		"a": {Leased: true, Bot: true, Load: 0.25, Room: 7, Recent: 3}, "b": {},
		"c": {Leased: true, Apps: map[ownership.AppID]ownership.AppFitness{"app": {Bot: true, Load: 0.5, Room: 9}, "bot": {}}},
		"d": {Apps: map[ownership.AppID]ownership.AppFitness{}},
	}
	return []ownership.Act{
		ownership.Claims{At: at(3), Fitness: fitness, Claims: []ownership.Claim{{
			Call: callID(1), RawCall: "A-B", App: "app", Tenant: "t", Groups: []ownership.GroupKey{"chain:1", "thread:2"},
			Paired: true, Pinned: true, Answered: true, Observed: "u", Thread: "19:x", Organizer: "o", Modalities: []string{"audio", "video"},
			Deadline: at(4), Received: at(5), Via: "b", Pin: ownership.Pin{Node: "a", Zone: "z", Version: "1"},
		}, {Call: callID(2)}}},
		ownership.Answered{At: at(1), Call: callID(1), Epoch: 2, Thread: "19:x", Organizer: "o"},
		ownership.Seen{At: at(1), Calls: []ownership.CallID{callID(1), callID(2)}},
		ownership.Release{At: at(1), Call: callID(1), Epoch: 1 << 60, Why: "over", Told: true, App: "app"},
		ownership.Forget{At: at(1), Before: at(0)},
		ownership.Join{At: at(1), Node: n, Partitions: 8, Ancestors: []string{"one", "two"}},
		ownership.Drain{At: at(1), Node: "a", Until: at(2)},
		ownership.Undrain{At: at(1), Node: "a"},
		ownership.Depart{At: at(1), Node: "a", Fitness: fitness},
		ownership.Failover{At: at(1), Node: "a", Fitness: fitness, Lapsed: []ownership.AppID{"app"}},
		ownership.Move{At: at(1), Partition: 3, Epoch: 4, To: "b"},
		ownership.SetFormat{At: at(1), Format: 1},
		ownership.GrantToken{At: at(1), Token: ownership.DoorToken{
			Name: "ci", Hash: [32]byte{1, 2}, Roles: []string{"read", "join"}, Once: true, MadeBy: "alice",
			MadeAt: at(1), Expires: at(90), UsedFor: "10.0.0.9:8471", UsedAt: at(2),
		}},
		ownership.RevokeToken{At: at(1), Name: "ci"},
		ownership.UseToken{At: at(1), Name: "ci", Hash: [32]byte{1, 2}, For: "10.0.0.9:8471", Done: true},
		ownership.TakeUp{At: at(1), Call: callID(1), Epoch: 2},
		ownership.Records{At: at(1), Acts: []ownership.Act{
			ownership.Answered{Call: callID(1), Epoch: 1, Thread: "19:x", Organizer: "o"},
			ownership.Release{Call: callID(2), Epoch: 1, Why: "over", Told: true},
			ownership.Seen{Calls: []ownership.CallID{callID(3)}},
			ownership.TakeUp{Call: callID(4), Epoch: 3},
		}},
		ownership.Found{At: at(1), Identity: "random"},
		ownership.SetLease{At: at(1), Length: 3 * time.Second},
		ownership.Lapse{At: at(1), Node: "a", Apps: []ownership.AppID{"app", "bot"}},
		ownership.Reclaim{At: at(1), Node: "a"},
	}
}

func TestActsRoundTrip(t *testing.T) {
	for _, act := range allActs() {
		b, err := EncodeAct(act, CommandFormat)
		if err != nil {
			t.Fatalf("%T: %v", act, err)
		}
		got, err := DecodeAct(b)
		if err != nil {
			t.Fatalf("%T: %v", act, err)
		}
		if diff := cmp.Diff(act, got); diff != "" {
			t.Errorf("%T (-want +got):\n%s", act, diff)
		}
	}
}

// TestOlderFormats: a region that writes an older format never meets what that
// format has not. An act of a newer one is refused; what an act tells beyond the
// format is left out when it is written, and refused when it is read, as a node of
// that format would.
func TestOlderFormats(t *testing.T) {
	for _, act := range allActs() {
		for format := uint32(1); format < CommandFormat; format++ {
			b, err := EncodeAct(act, format)
			if (err != nil) != (formatOf(act) > format) {
				t.Errorf("%T in format %d: %v", act, format, err)
			}
			if err != nil {
				continue
			}
			got, err := DecodeAct(b)
			if err != nil {
				t.Fatalf("%T in format %d cannot be read back: %v", act, format, err)
			}
			if formatOfFields(got) > format {
				t.Errorf("in format %d %T tells %+v", format, act, got)
			}
		}
		needs := max(formatOf(act), formatOfFields(act))
		if needs == 1 {
			continue
		}
		var cmd tablepb.Command
		if err := proto.Unmarshal(mustEncode(t, act), &cmd); err != nil {
			t.Fatal(err)
		}
		cmd.Format = needs - 1
		b, err := proto.Marshal(&cmd)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeAct(b); !errors.Is(err, ErrBadCommand) {
			t.Errorf("%T under format %d was read: %v", act, needs-1, err)
		}
	}
}

func TestEncodeActRefuses(t *testing.T) {
	if _, err := EncodeAct(ownership.Seen{}, CommandFormat+1); err == nil {
		t.Error("a format that this software does not know was written")
	}
	if _, err := EncodeAct(ownership.Seen{}, 0); err == nil {
		t.Error("format 0 was written")
	}
	if _, err := EncodeAct(ownership.Records{Acts: []ownership.Act{ownership.Reclaim{}}}, CommandFormat); err == nil {
		t.Error("a batch of records took an act that is no record")
	}
	if _, err := EncodeAct(nil, 1); err == nil {
		t.Error("no act was written")
	}
	if _, err := EncodeAct(ownership.Forget{Before: at(0).AddDate(900, 0, 0)}, 1); err == nil {
		t.Error("a time in the year 2926 was written")
	}
	if _, err := EncodeAct(ownership.Release{Why: "\xff"}, 1); err == nil {
		t.Error("text that is not UTF-8 was written")
	}
}

// FuzzDecodeAct: whatever the log holds, reading it gives an act or one of three
// errors, and an act is written and read again as it was.
func FuzzDecodeAct(f *testing.F) {
	for _, act := range allActs() {
		f.Add(mustEncode(f, act))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		act, err := DecodeAct(b)
		if err != nil {
			if !errors.Is(err, ErrBadCommand) && !errors.Is(err, ErrUnknownAct) && !errors.Is(err, ErrNewerFormat) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		again, err := EncodeAct(act, CommandFormat)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		back, err := DecodeAct(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(act, back, cmpopts.EquateNaNs()); diff != "" {
			t.Fatal(diff)
		}
	})
}

// FuzzApply: no sequence of readable commands stops the table or makes a file
// that cannot be loaded.
func FuzzApply(f *testing.F) {
	for _, act := range allActs() {
		f.Add(mustEncode(f, act), mustEncode(f, allActs()[0]))
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		r := newRig(t)
		r.join("a", "b")
		for _, b := range [][]byte{one, two, one} {
			if _, err := DecodeAct(b); err == nil {
				r.entry(b)
			}
		}
		sum, _ := r.table.Hash()
		r.reopen()
		if now, _ := r.table.Hash(); now != sum || r.fatal != nil {
			t.Fatalf("after a restart the hash is %s, was %s; the node was told %v", now, sum, r.fatal)
		}
	})
}

// FuzzRestore gives any bytes as a snapshot, and the same with a checksum that
// fits, which is what a peer with evil in mind can make. Either it is refused
// and the table stays, or it is taken and the table works.
func FuzzRestore(f *testing.F) {
	b := filled(f).snapshotBytes()
	body := b[:len(b)-sha256.Size]
	f.Add(body)
	f.Add(body[:len(body)/2])
	f.Add([]byte(snapshotMagic + "\x00\x00\x00\x00\xff\x05\x00table"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := Inspect(bytes.NewReader(body)); err == nil {
			t.Fatal("bytes without a checksum were taken for a snapshot")
		}
		sum := sha256.Sum256(body)
		whole := append(bytes.Clone(body), sum[:]...)
		info, err := Inspect(bytes.NewReader(whole))
		if err != nil || info.Region != "emea" || info.Deployment != "prod" {
			return // Restore reads it with the same code
		}
		r := newRig(t)
		if err := r.table.Restore(io.NopCloser(bytes.NewReader(whole))); err != nil {
			t.Fatalf("Inspect took it, Restore did not: %v", err)
		}
		r.readIndex(t)
		again := r.snapshotBytes()
		if next, err := Inspect(bytes.NewReader(again)); err != nil || next.Hash != info.Hash {
			t.Fatalf("the restored table gives %+v, %v", next, err)
		}
	})
}

// readIndex reads every call by its index.
func (r *rig) readIndex(t *testing.T) {
	for cursor := ""; ; {
		page, next, err := r.table.Calls(ownership.CallFilter{}, cursor, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page {
			if _, ok := r.table.Known(c.ID); !ok {
				t.Fatalf("call %q is listed but not known", c.ID)
			}
		}
		if cursor = next; next == "" {
			return
		}
	}
}
