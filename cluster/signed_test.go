package cluster

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"
	"time"

	"tandem/ownership"
	"tandem/store/snapfile"
)

// TestD10_ARestoreTakesWhatTheDeploymentSigned: at the leader and at another node, a
// snapshot of another key, or of none, is refused with what to do, and taken when an
// operator says so. Its tokens stay out unless they are asked for.
func TestD10_ARestoreTakesWhatTheDeploymentSigned(t *testing.T) {
	long(t)
	grant := func(n *testNode, name string) {
		t.Helper()
		out, err := n.Do(soon(t), ownership.GrantToken{At: time.Now(), Token: ownership.DoorToken{
			Name: name, Hash: sha256.Sum256([]byte(name)), Roles: []string{"operate"}, Expires: time.Now().Add(time.Hour),
		}})
		if err == nil {
			err = out.Err
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	saved := func(key string) []byte {
		t.Helper()
		r := newRegion(t, func(c *Config) {
			c.TLS = nil
			if key != "" {
				c.SnapshotKeys = func() [][]byte { return [][]byte{[]byte(key)} }
			}
		})
		n := r.form(1)[0]
		claim(t, n, 1)
		grant(n, "theirs")
		var b bytes.Buffer
		if err := n.SaveSnapshot(soon(t), &b); err != nil {
			t.Fatal(err)
		}
		n.stop()
		return b.Bytes()
	}
	good, unsigned, foreign := saved("older"), saved(""), saved("theirs")
	r := newRegion(t, func(c *Config) {
		c.SnapshotKeys = func() [][]byte { return [][]byte{[]byte("newer"), []byte("older")} }
	})
	nodes := r.form(2)
	ldr := leaderOf(t, nodes...)
	grant(ldr, "ours")
	names := func(n *testNode) (out []string) {
		for _, tok := range n.tb.DoorTokens() {
			out = append(out, tok.Name)
		}
		return out
	}
	for _, n := range []*testNode{ldr, without(nodes, ldr)[0]} {
		for _, b := range [][]byte{unsigned, foreign} {
			if err := restore(t, n, b, ownership.RestoreTerms{Anyhow: true}); !errors.Is(err, snapfile.ErrUnsigned) {
				t.Fatalf("at node %s: %v", n.id, err)
			}
		}
		if _, known := n.tb.Known(claimOf(1).Call); known {
			t.Fatal("it was taken all the same")
		}
	}
	for i, step := range []struct {
		b     []byte
		terms ownership.RestoreTerms
		want  []string
	}{
		{good, ownership.RestoreTerms{Anyhow: true}, []string{"ours"}},
		{unsigned, ownership.RestoreTerms{Anyhow: true, Unsigned: true}, []string{"ours"}},
		{good, ownership.RestoreTerms{Anyhow: true, Tokens: true}, []string{"theirs"}},
	} {
		n := nodes[i%2]
		if err := restore(t, n, step.b, step.terms); err != nil {
			t.Fatalf("%+v: %v", step.terms, err)
		}
		for _, n := range nodes {
			eventually(t, "the table of before is there, with the tokens that were wanted", func() bool {
				_, known := n.tb.Known(claimOf(1).Call)
				return known && slices.Equal(names(n), step.want)
			})
		}
	}
}
