package record

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"tandem/ownership"
	"tandem/store/tablepb"
)

func TestActsRoundTrip(t *testing.T) {
	for _, act := range acts() {
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
	for _, act := range acts() {
		for format := uint32(1); format < CommandFormat; format++ {
			b, err := EncodeAct(act, format)
			if (err != nil) != (Since(act) > format) {
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
		needs := Needs(act)
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
	if _, err := EncodeAct(ownership.Forget{Before: time.Now().AddDate(900, 0, 0)}, 1); err == nil {
		t.Error("a time in the year 2926 was written")
	}
	if _, err := EncodeAct(ownership.Release{Why: "\xff"}, 1); err == nil {
		t.Error("text that is not UTF-8 was written")
	}
}

// FuzzDecodeAct: whatever the log holds, reading it gives an act or one of three
// errors, and an act is written and read again as it was.
func FuzzDecodeAct(f *testing.F) {
	for _, act := range acts() {
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

func TestFormatOneLeavesFactsOut(t *testing.T) {
	now := time.Unix(1, 0).UTC()
	b, err := EncodeAct(ownership.Answered{At: now, Call: "c", Epoch: 2, Thread: "19:x", Organizer: "o"}, 1)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeAct(b)
	if want := (ownership.Answered{At: now, Call: "c", Epoch: 2}); err != nil || !cmp.Equal(got, ownership.Act(want)) {
		t.Errorf("read back %+v (%v), want %+v", got, err, want)
	}
}

func mustEncode(t testing.TB, act ownership.Act) []byte {
	t.Helper()
	b, err := EncodeAct(act, Needs(act))
	if err != nil {
		t.Error(err)
	}
	return b
}

// TestAnActWithoutWhatItCarries: bytes of another hand may leave out an act's inner
// message. That reads as an empty one, and the table refuses it; nothing falls over.
func TestAnActWithoutWhatItCarries(t *testing.T) {
	for _, cmd := range []*tablepb.Command{
		{Act: &tablepb.Command_Join{Join: &tablepb.Join{}}},
		{Act: &tablepb.Command_SetRules{SetRules: &tablepb.SetRules{}}},
		{Act: &tablepb.Command_GrantToken{GrantToken: &tablepb.GrantToken{}}},
		{Act: &tablepb.Command_SetRollout{SetRollout: &tablepb.SetRollout{}}},
	} {
		cmd.Format = CommandFormat
		b, err := proto.Marshal(cmd)
		if err != nil {
			t.Fatal(err)
		}
		act, err := DecodeAct(b)
		if err != nil {
			t.Errorf("%T: %v", cmd.GetAct(), err)
		}
		if v := reflect.ValueOf(act); v.IsValid() && !v.IsZero() {
			t.Errorf("%T reads as %+v", cmd.GetAct(), act)
		}
	}
}
