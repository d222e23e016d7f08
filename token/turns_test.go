package token

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func senderNo(i int) sender {
	return sender{netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), ourApp}
}

// wait lets one of a sender wait for its turn; what became of it comes by the channel.
func (t *turns) wait(of sender) <-chan bool {
	got := make(chan bool, 1)
	go func() { got <- t.take(context.Background(), of) }()
	synctest.Wait()
	return got
}

// held returns turns of which the only one is taken.
func held(t *testing.T) *turns {
	q := newTurns()
	q.free = 1
	if !q.take(t.Context(), sender{}) {
		t.Fatal("a free turn is not given")
	}
	return q
}

// TestD3_TurnsAreFair: behind a thousand of one sender another's first comes second.
func TestD3_TurnsAreFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := held(t)
		var flood []<-chan bool
		for range 1000 {
			flood = append(flood, q.wait(senderNo(1)))
		}
		good := q.wait(senderNo(2))
		other := q.wait(sender{addr: senderNo(1).addr, app: "another app"})
		for range 3 {
			q.done()
			synctest.Wait()
		}
		for name, got := range map[string]<-chan bool{"the flood's first": flood[0], "another sender's": good, "another app's": other} {
			select {
			case ok := <-got:
				if !ok {
					t.Errorf("%s went without a turn", name)
				}
			default:
				t.Errorf("after three turns %s has not had its own", name)
			}
		}
		for i := range flood[1:] {
			q.done()
			if !<-flood[i+1] {
				t.Fatalf("number %d of the flood went without a turn, though there was room", i+1)
			}
		}
		if q.done(); q.free != 1 || q.all != 0 || len(q.lines) != 0 || q.round.Len() != 0 {
			t.Errorf("after all: %d free, %d wait in %d lines", q.free, q.all, len(q.lines))
		}
	})
}

// TestD3_WaitingIsBounded: where too many wait, the longest line gives way, whoever
// comes; and nobody waits for longer than his call can.
func TestD3_WaitingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := held(t)
		var flood []<-chan bool
		for range maxTurns {
			flood = append(flood, q.wait(senderNo(1)))
		}
		if <-q.wait(senderNo(1)) {
			t.Error("one more of the longest line has a turn")
		}
		good := q.wait(senderNo(2))
		if <-flood[maxTurns-1] {
			t.Error("the last of the longest line has a turn")
		}
		if q.all != maxTurns {
			t.Errorf("%d wait, want %d", q.all, maxTurns)
		}
		q.done()
		q.done()
		if !<-flood[0] || !<-good {
			t.Error("the first of each line went without a turn")
		}
		begun := time.Now()
		if <-flood[1] || time.Since(begun) != turnWait {
			t.Errorf("a turn came after %v", time.Since(begun))
		}
		synctest.Wait()
		if q.all != 0 || len(q.lines) != 0 {
			t.Errorf("%d wait for ever in %d lines", q.all, len(q.lines))
		}
	})
}

// TestD3_WhoHasGoneHoldsNoTurn.
func TestD3_WhoHasGoneHoldsNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := held(t)
		ctx, leave := context.WithCancel(t.Context())
		got := make(chan bool)
		go func() { got <- q.take(ctx, senderNo(1)) }()
		synctest.Wait()
		leave()
		if <-got || q.all != 0 {
			t.Errorf("who has gone has a turn, or waits: %d", q.all)
		}
		if q.done(); q.free != 1 {
			t.Error("the turn is lost")
		}
	})
}

// TestD3_KnownTokensDoNotWait: all turns are taken, and tokens that were good before
// pass at once; a new one is told to come again, in the end.
func TestD3_KnownTokensDoNotWait(t *testing.T) {
	bubble(t, func(t *testing.T, _ *cloud, v *Verifier) {
		a := tokenA()
		want(t, v, a, good)
		for v.turns.free > 0 {
			v.turns.take(t.Context(), sender{})
		}
		begun := time.Now()
		want(t, v, a, good)
		want(t, v, "x.y.z", CodeBadHeader)
		if d := time.Since(begun); d != 0 {
			t.Errorf("they took %v", d)
		}
		want(t, v, goodToken(time.Now(), "a", keyA(), 7), CodeNoTurn)
		if d := time.Since(begun); d != turnWait {
			t.Errorf("a new token waited %v, want %v", d, turnWait)
		}
	})
}

// TestD3_SendersAreTold by the door.
func TestD3_SendersAreTold(t *testing.T) {
	a := netip.MustParseAddr("192.0.2.1")
	if got := SenderOf(WithSender(t.Context(), a)); got != a {
		t.Errorf("the sender is %v", got)
	}
}

// BenchmarkTurns is what giving turns costs while a crowd stands in line.
func BenchmarkTurns(b *testing.B) {
	for _, senders := range []int{1, 1000} {
		b.Run(fmt.Sprint(senders), func(b *testing.B) {
			q := newTurns()
			var crowd sync.WaitGroup
			for i := range 1000 {
				crowd.Go(func() {
					for range b.N/1000 + 1 {
						if q.take(b.Context(), senderNo(i%senders)) {
							q.done()
						}
					}
				})
			}
			crowd.Wait()
		})
	}
}
