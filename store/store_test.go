package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tandem/ownership"
	"tandem/store/files"
	"tandem/store/record"
)

// TestF28_Stamps: a directory serves the node it was made for and no other.
func TestF28_Stamps(t *testing.T) {
	cases := []struct {
		name string
		want Stamp
		err  error
		says string
	}{
		{"the same", testStamp, nil, ""},
		{"F29 another deployment", Stamp{Deployment: "test", Region: "emea", Node: "emea-1"}, ErrForeign, `the data are of deployment "prod"`},
		{"another region", Stamp{Deployment: "prod", Region: "apac", Node: "emea-1"}, ErrForeign, `the data are of region "emea"`},
		{"another node", Stamp{Deployment: "prod", Region: "emea", Node: "emea-2"}, ErrForeign, `the data are of node "emea-1"`},
		{"another incarnation", Stamp{Deployment: "prod", Region: "emea", Node: "emea-1", Incarnation: "x"}, ErrForeign, "another incarnation"},
	}
	r := newRig(t)
	r.join("a")
	made := r.store.Stamp()
	if made.Incarnation == "" || made.Format != LayoutFormat || made.Region != "emea" {
		t.Errorf("the stamp is %+v", made)
	}
	r.close()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, err := Open(r.dir, c.want, r.opt)
			if !errors.Is(err, c.err) || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Fatalf("Open gave %v", err)
			}
			if err == nil {
				if s.Stamp() != made {
					t.Errorf("the stamp changed from %+v to %+v", made, s.Stamp())
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	other := newRig(t)
	if other.store.Stamp().Incarnation == made.Incarnation {
		t.Error("F28: a fresh disk shows the incarnation of another")
	}
	if _, err := Open(t.TempDir(), Stamp{Region: "emea", Node: "a"}, r.opt); err == nil {
		t.Error("a directory was stamped without a deployment")
	}
}

// TestForeignTable: table.db itself says whose it is, too.
func TestForeignTable(t *testing.T) {
	r := filled(t)
	r.close()
	dir := filepath.Join(t.TempDir(), "other")
	apac := Stamp{Deployment: "prod", Region: "apac", Node: "apac-1"}
	s, err := Open(dir, apac, r.opt)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(r.dir, fileTable))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, fileTable), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, apac, r.opt); !errors.Is(err, ErrForeign) {
		t.Errorf("another region's table.db gave %v", err)
	}
}

// TestF28_ATakenLog: a node that lost its log has forgotten its vote. With other
// data it does not start; with its stamp alone it is another node.
func TestF28_ATakenLog(t *testing.T) {
	for name, left := range map[string][]string{
		"the stamp": {fileStamp}, "the stamp and the table": {fileStamp, fileTable}, "all but the log": {fileStamp, fileTable, "snapshots"},
	} {
		t.Run(name, func(t *testing.T) {
			r := filled(t)
			made := r.store.Stamp()
			r.close()
			for _, file := range []string{fileTable, dirLog, "snapshots"} {
				if !slices.Contains(left, file) {
					if err := os.RemoveAll(filepath.Join(r.dir, file)); err != nil {
						t.Fatal(err)
					}
				}
			}
			s, err := Open(r.dir, testStamp, r.opt)
			if len(left) > 1 {
				if !errors.Is(err, files.ErrDamaged) || !strings.Contains(err.Error(), "wal-meta.db is missing") {
					t.Fatalf("Open gave %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if s.Stamp().Incarnation == made.Incarnation {
				t.Error("it came back as the node that voted")
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestDamagedStamp(t *testing.T) {
	r := newRig(t)
	made := r.store.Stamp()
	r.close()
	path := filepath.Join(r.dir, fileStamp)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		if err := os.WriteFile(path, flip(whole, i, i), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(r.dir, testStamp, r.opt)
		if err == nil {
			// White space, or the case of a name's letter: every value is
			// under the checksum.
			if s.Stamp() != made {
				t.Errorf("a flipped bit at %d (%q) made the stamp %+v", i, whole[i], s.Stamp())
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		} else if !errors.Is(err, files.ErrDamaged) {
			t.Errorf("a flipped bit at %d gave %v", i, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(r.dir, testStamp, r.opt); !errors.Is(err, files.ErrDamaged) || !strings.Contains(err.Error(), "is missing although") {
		t.Errorf("data without a stamp gave %v", err)
	}
}

func TestOpenTwice(t *testing.T) {
	r := newRig(t)
	if _, err := Open(r.dir, testStamp, r.opt); !errors.Is(err, files.ErrInUse) || !strings.Contains(err.Error(), "locking") {
		t.Errorf("a second opening gave %v", err)
	}
	r.join("works")
}

func TestHasState(t *testing.T) {
	r := newRig(t)
	if has, err := r.store.HasState(); has || err != nil {
		t.Errorf("a new directory has state: %v, %v", has, err)
	}
	r.join("a")
	if has, err := r.store.HasState(); !has || err != nil {
		t.Errorf("a used directory has state: %v, %v", has, err)
	}
}

func TestRestoreOnStart(t *testing.T) {
	r := filled(t)
	if restore, err := r.store.RestoreOnStart(); restore || err != nil {
		t.Errorf("without a snapshot: %v, %v", restore, err)
	}
	r.passSnapshot()
	if restore, err := r.store.RestoreOnStart(); restore || err != nil {
		t.Errorf("with a table as new as the snapshot: %v, %v", restore, err)
	}
	r.close()
	if err := os.Remove(r.table.path); err != nil { // as the text of a refusal says
		t.Fatal(err)
	}
	r.open()
	if restore, err := r.store.RestoreOnStart(); !restore || err != nil {
		t.Errorf("without table.db: %v, %v", restore, err)
	}
}

// TestF26_UnknownCommands: what this software cannot read stops the node, and is
// not skipped.
func TestF26_UnknownCommands(t *testing.T) {
	newer := []byte{0x08, byte(record.CommandFormat) + 1}
	unknown := []byte{0x08, 1, 0xfa, 0x06, 1, 'x'}
	seen, err := record.EncodeAct(ownership.Seen{At: at(1)}, 1)
	if err != nil {
		t.Fatal(err)
	}
	withField := append(seen, 0xfa, 0x06, 1, 'x') // a known act, and a field beside it
	inside := []byte{0x08, 1, 0x22, 4, 0xfa, 0x06, 1, 'x'}
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"a newer format":      {newer, record.ErrNewerFormat},
		"an unknown act":      {unknown, record.ErrUnknownAct},
		"an unknown field":    {withField, record.ErrUnknownAct},
		"a field in the act":  {inside, record.ErrUnknownAct},
		"no format":           {[]byte{}, record.ErrBadCommand},
		"no command":          {[]byte("\xff\xff\xff"), record.ErrBadCommand},
		"a negative capacity": {[]byte{0x08, 1, 0x3a, 13, 0x12, 11, 0x38, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1}, record.ErrBadCommand},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.join("a")
			sum, index := r.table.Hash()
			out := r.entry(c.data)
			if !errors.Is(out.Err, c.want) || len(r.fatal) != 1 || !strings.Contains(r.fatal[0].Error(), "node emea-1 must stop: applying entry 2") {
				t.Fatalf("the outcome is %v, the node was told %v", out.Err, r.fatal)
			}
			out = r.do(ownership.Seen{At: at(1)}) // whatever OnFatal did
			if out.Err == nil || len(r.fatal) != 2 {
				t.Error("the stopped table applied another act")
			}
			if now, at := r.table.Hash(); now != sum || at != index {
				t.Error("the stopped table moved on")
			}
		})
	}
}

func TestF26_PanicsByDefault(t *testing.T) {
	r := newRig(t, func(o *Options) { o.OnFatal = nil })
	defer func() {
		if err, ok := recover().(error); !ok || !errors.Is(err, record.ErrNewerFormat) {
			t.Errorf("recovered %v", err)
		}
	}()
	r.entry([]byte{0x08, 9})
}

// TestPins reads go.mod: raft-wal v0.4.0, to which "latest" may resolve, lacks
// the fixes for tail truncation and failed writes.
func TestPins(t *testing.T) {
	b, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, pin := range []string{
		"github.com/hashicorp/raft-wal v0.4.1", "github.com/hashicorp/raft v1.8.0", "go.etcd.io/bbolt v1.5.0",
	} {
		if !strings.Contains(string(b), pin+" ") && !strings.Contains(string(b), pin+"\n") {
			t.Errorf("go.mod does not pin %s", pin)
		}
	}
	if strings.Contains(string(b), "raft-boltdb") {
		t.Error("go.mod holds raft-boltdb, which pulls raft back to 1.7.3")
	}
}
