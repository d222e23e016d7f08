package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"tandem/admin"
	"tandem/doorway"
	"tandem/webhook"
)

// listen opens the public and the admin listener, each with budgets of its own:
// a flood at one cannot starve the other, nor the cluster port.
func (n *Node) listen(ctx context.Context) error {
	c := n.cfg
	limits := webhook.Limits{Connections: c.Public.Connections, Each: c.Public.ConnectionsEach, Idle: c.Public.IdleTimeout}
	public, err := open(ctx, "public.listen", c.PublicListener, c.Public.Listen)
	if err != nil {
		return err
	}
	n.publicAddr = public.Addr().String()
	if err := n.order(ctx, public.Addr()); err != nil {
		_ = public.Close()
		return err
	}
	if err := n.serve("public", webhook.NewServer(n.traces.Door("notification", true, n.door), limits), n.door.Listener(public, limits), c.Public.TLS.ServerTLS); err != nil {
		return err
	}
	private, err := open(ctx, "admin.listen", c.AdminListener, c.Admin.Listen)
	if err != nil {
		return err
	}
	n.adminAddr = private.Addr().String()
	return n.serve("admin", admin.NewServer(n.private), admin.Listener(private, c.Admin.Connections), c.Admin.TLS)
}

// open takes the given listener, or opens the address.
func open(ctx context.Context, key string, given net.Listener, addr string) (net.Listener, error) {
	if given != nil {
		return given, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", key, err)
	}
	return l, nil
}

// serve answers a door's requests until the node stops: then no new connection
// is taken, and requests under way have the grace period to end.
func (n *Node) serve(name string, s *http.Server, l *doorway.Door, files ServerTLS) error {
	conf, err := n.certs.server(name+".tls", files)
	if err != nil {
		_ = l.Close()
		return err
	}
	unused := unusedConns{conns: map[net.Conn]struct{}{}}
	s.ConnState = unused.watch
	l.Watch(s)
	s.ErrorLog = slog.NewLogLogger(n.log.Handler(), slog.LevelDebug)
	s.TLSConfig = conf
	ended := make(chan error, 1)
	go func() {
		if conf != nil {
			ended <- s.ServeTLS(l, "", "")
		} else {
			ended <- s.Serve(l)
		}
	}()
	n.stops.addWaiting(name+" door", func(ctx context.Context) error {
		graceful, cancel := context.WithTimeout(ctx, n.cfg.Public.Grace)
		defer cancel()
		cut := time.AfterFunc(unusedGrace, unused.cut)
		defer cut.Stop()
		err := s.Shutdown(graceful)
		if err != nil {
			err = errors.Join(fmt.Errorf("requests were cut off: %w", err), s.Close())
		}
		if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	})
	return nil
}

// unusedGrace is how long a connection that never carried a request keeps a
// stopping door open.
const unusedGrace = 250 * time.Millisecond

// unusedConns knows the connections that have not carried a request yet. Clients
// open some in advance; Shutdown would wait 5 s for each of them.
type unusedConns struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// watch is a server's ConnState.
func (u *unusedConns) watch(c net.Conn, state http.ConnState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if state == http.StateNew {
		u.conns[c] = struct{}{}
	} else {
		delete(u.conns, c)
	}
}

// cut closes them.
func (u *unusedConns) cut() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for c := range u.conns {
		_ = c.Close() // nothing was asked on it
	}
}
