package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"tandem/ownership"
)

func (n *testNode) remembers() (peers, conns int) {
	return n.links.Len(), n.dial.Open()
}

// Two thousand joins name addresses where nobody answers, and some where somebody
// does: the node remembers none of them.
func TestB102_JoinsOfDeadAddressesLeaveNothingBehind(t *testing.T) {
	long(t)
	for name, tune := range map[string]func(*Config){"TLS": nil, "plain": func(c *Config) { c.TLS = nil }} {
		t.Run("B102 "+name, func(t *testing.T) {
			r := newRegion(t, tune)
			n := r.form(1)[0]
			other := newRegion(t, tune) // of its own, under the same CA: it answers and is refused
			other.ca, other.dir = r.ca, t.TempDir()
			stranger := other.start("s")
			stranger.ready()
			peers, conns := n.remembers()
			var flood sync.WaitGroup
			for i := range 10 {
				flood.Go(func() {
					for j := range 200 {
						_, err := n.Meet(soon(t), fmt.Sprintf("127.%d.%d.%d:1", i+1, j/250, j%250+1), "", "")
						if !errors.Is(err, ownership.ErrUnreachable) {
							t.Errorf("meeting nobody gives %v", err)
							return
						}
					}
					if _, err := n.Meet(soon(t), stranger.Addr(), "", ""); !errors.Is(err, ownership.ErrConflict) {
						t.Errorf("meeting a node with a region of its own gives %v", err)
					}
				})
			}
			flood.Wait()
			eventually(t, "nothing of it is remembered", func() bool {
				p, c := n.remembers()
				return p <= peers && c <= conns
			})
		})
	}
}

// More than a few joins at a time are refused at once, and there is room again
// when they are over.
func TestB102_FewNodesAreMetAtATime(t *testing.T) {
	r := newRegion(t, func(c *Config) { c.TLS = nil })
	n := r.form(1)[0]
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }() // connections wait in its queue: nobody answers
	ctx, cancel := context.WithCancel(t.Context())
	var busy sync.WaitGroup
	for range maxMeetings {
		busy.Go(func() {
			if _, err := n.Meet(ctx, ln.Addr().String(), "", ""); errors.Is(err, ownership.ErrBusy) {
				t.Errorf("one of the first %d gets %v", maxMeetings, err)
			}
		})
	}
	underWay := func() int {
		n.invites.mu.Lock()
		defer n.invites.mu.Unlock()
		return n.invites.meetings
	}
	eventually(t, "all are under way", func() bool { return underWay() == maxMeetings })
	if _, err := n.Meet(ctx, "127.0.0.1:1", "", ""); !errors.Is(err, ownership.ErrBusy) {
		t.Errorf("one more gets %v", err)
	}
	cancel()
	busy.Wait()
	if _, err := n.Meet(t.Context(), "127.0.0.1:1", "", ""); !errors.Is(err, ownership.ErrUnreachable) {
		t.Errorf("afterwards one gets %v", err)
	}
}

// A node that left keeps running until it is stopped: a join must not call it
// part of the region.
func TestB101_ANodeThatLeftIsNotJoined(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	nodes := r.form(3)
	ldr := leaderOf(t, nodes...)
	n := without(nodes, ldr)[0]
	if err := n.Leave(soon(t)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the leader's table knows", func() bool {
		rec, _ := ldr.tb.Node(n.id)
		return rec.State == ownership.NodeGone
	})
	if rec, err := ldr.Meet(soon(t), n.Addr(), "", ""); !errors.Is(err, ownership.ErrGone) {
		t.Errorf("it is taken for %+v, with %v, want ErrGone", rec, err)
	}
}

// What a node says of itself stands in Locations afterwards: one with such a
// public URL is not let in, and ends with a sentence that says why.
func TestB99_AJoinWithABadPublicURLIsRefused(t *testing.T) {
	long(t)
	r := newRegion(t, nil)
	n := r.form(1)[0]
	for i, bad := range []string{"http://169.254.169.254", "https://169.254.169.254", "file:///etc/passwd", "javascript:alert(1)", "https://user@bot.example", "http://bot.example"} {
		t.Run("B99 "+bad, func(t *testing.T) {
			id := ownership.NodeID(fmt.Sprintf("x%d", i))
			x := &testNode{r: r, id: id, dir: filepath.Join(r.dir, string(id))}
			r.nodes[id] = x
			x.up(func(c *Config) { c.Join, c.Node.PublicURL = []string{n.Addr()}, bad })
			eventually(t, "it is refused", func() bool { return len(x.fatals()) == 1 })
			if err := x.fatals()[0]; !errors.Is(err, ownership.ErrConflict) || !strings.Contains(err.Error(), "public URL") {
				t.Errorf("it ends with: %v", err)
			}
			if _, in := n.tb.Node(id); in {
				t.Error("it stands in the table")
			}
			x.stop()
		})
	}
}

// TestD14_MeetingTellsNothingOfPorts: a closed port, one where another program hangs
// up, and one where it speaks something else give one text.
func TestD14_MeetingTellsNothingOfPorts(t *testing.T) {
	r := newRegion(t, nil)
	n := r.form(1)[0]
	serve := func(say string) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, say)
				_ = c.Close()
			}
		}()
		return l.Addr().String()
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	texts := map[string]bool{}
	for _, addr := range []string{closed.Addr().String(), serve(""), serve("SSH-2.0-OpenSSH_9.2\r\n"), serve("HTTP/1.1 400 Bad Request\r\n\r\n")} {
		_, err := n.Meet(soon(t), addr, "", "")
		if !errors.Is(err, ownership.ErrUnreachable) {
			t.Errorf("%s: %v", addr, err)
			continue
		}
		texts[strings.ReplaceAll(err.Error(), addr, "ADDR")] = true
	}
	if len(texts) != 1 {
		t.Errorf("the ports are told apart: %v", texts)
	}
}
