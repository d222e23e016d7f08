package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// slowLink makes what passes on the connections that one node opens to another
// one's cluster port come late, there or back. Connections that are open already
// are not touched.
type slowLink struct {
	there  atomic.Int64 // how late what the opener sends is, in nanoseconds
	back   atomic.Int64 // and what it is sent
	target string
	listen net.Listener
	ended  context.Context // what is under way is lost
	end    context.CancelFunc
	cut    context.Context // nothing new passes; what is under way arrives
	sever  context.CancelFunc
	wg     sync.WaitGroup
	once   sync.Once
	unhook func()
}

// Delay puts a link between two nodes that Slow makes slow. End takes it away,
// and with it its connections.
func (f *Fleet) Delay(to, from *Node) (*slowLink, error) {
	l, err := new(net.ListenConfig).Listen(f.ctx, "tcp", f.net.gateway+":0")
	if err != nil {
		return nil, fmt.Errorf("delaying what %s tells %s: %w", from.ID, to.ID, err)
	}
	k := &slowLink{target: from.PeerAt, listen: l}
	k.ended, k.end = context.WithCancel(f.ctx)
	k.cut, k.sever = context.WithCancel(k.ended)
	k.unhook = func() { _ = f.net.nft(to.Space, "delete table ip rigto") } // the namespace goes with the fleet
	k.wg.Go(k.accept)
	_, port, _ := net.SplitHostPort(l.Addr().String()) // a listener's address is well formed
	err = errors.Join(
		f.net.nft(to.Space, "add table ip rigto; add chain ip rigto out { type nat hook output priority -100; }"),
		f.net.nft(to.Space, fmt.Sprintf("add rule ip rigto out ip daddr %s tcp dport 8471 dnat to %s:%s", from.IP, f.net.gateway, port)),
	)
	if err != nil {
		k.End()
		return nil, err
	}
	f.onClose(func() error { k.End(); return nil })
	return k, nil
}

// Slow makes what passes from now on late.
func (k *slowLink) Slow(there, back time.Duration) {
	k.there.Store(int64(there))
	k.back.Store(int64(back))
}

// Cut lets nothing new through; what is on its way arrives late.
func (k *slowLink) Cut() { k.sever() }

// End takes the link away.
func (k *slowLink) End() {
	k.once.Do(func() {
		k.unhook()
		k.end()
		_ = k.listen.Close() // its accepts end
		k.wg.Wait()
	})
}

func (k *slowLink) accept() {
	for {
		c, err := k.listen.Accept()
		if err != nil {
			return
		}
		k.wg.Go(func() { k.carry(c) })
	}
}

// late is what came from one side, and when the other one gets it.
type late struct {
	at   time.Time
	data []byte
}

// carry joins two connections.
func (k *slowLink) carry(near net.Conn) {
	defer near.Close()
	far, err := (&net.Dialer{Timeout: time.Second}).DialContext(k.cut, "tcp", k.target)
	if err != nil {
		return // as a port that refuses
	}
	stopFar := context.AfterFunc(k.cut, func() { _ = far.Close() }) // both copies of it end
	defer stopFar()
	stopNear := context.AfterFunc(k.ended, func() { _ = near.Close() }) // likewise
	defer stopNear()
	var wg sync.WaitGroup
	wg.Go(func() { k.copy(far, near, &k.there) })
	k.copy(near, far, &k.back)
	wg.Wait()
}

// copy passes bytes on, late, until one side ends, which ends the other.
func (k *slowLink) copy(to, from net.Conn, by *atomic.Int64) {
	queue := make(chan late, 4096)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		defer close(queue)
		for {
			b := make([]byte, 16<<10)
			n, err := from.Read(b)
			if n > 0 {
				select {
				case queue <- late{time.Now().Add(time.Duration(by.Load())), b[:n]}:
				case <-k.ended.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	for l := range queue {
		if Pause(k.ended, time.Until(l.at)) {
			_, _ = to.Write(l.data) // a side that left reads nothing
		}
	}
	_ = to.Close() // its own copy ends
}
