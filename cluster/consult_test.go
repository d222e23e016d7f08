package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"tandem/ownership"
)

// TestConsult: every node is asked, each answers for itself, and one that does not
// answer keeps nobody from hearing the others.
func TestConsult(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	for _, m := range nodes {
		m.Cluster.deps.Consult = func(_ context.Context, topic string, body []byte) ([]byte, error) {
			if topic != "weather" {
				return nil, fmt.Errorf("answering about %s: %w", topic, ownership.ErrUnknown)
			}
			return append([]byte(m.id+" says "), body...), nil
		}
	}
	n := leaderOf(t, nodes...)
	n.ready()
	said := n.Consult(soon(t), "weather", []byte("rain"))
	if len(said) != 3 {
		t.Fatalf("%d nodes were asked", len(said))
	}
	for _, s := range said {
		if s.Err != nil || string(s.Body) != string(s.Node)+" says rain" {
			t.Errorf("%s: %q, %v", s.Node, s.Body, s.Err)
		}
	}
	for _, s := range n.Consult(soon(t), "tides", nil) {
		if !errors.Is(s.Err, ownership.ErrUnknown) {
			t.Errorf("%s knows of tides: %q, %v", s.Node, s.Body, s.Err)
		}
	}
	without(nodes, n)[0].stop()
	silent, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	heard := 0
	for _, s := range n.Consult(silent, "weather", nil) {
		if s.Err == nil {
			heard++
		}
	}
	if heard != 2 {
		t.Errorf("%d nodes were heard", heard)
	}
}
