package shadow

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Config is a shadow run.
type Config struct {
	ProxyConfig
	Listen   string
	ServeTLS *tls.Config   // of the listener; nil: plain text
	PageAt   string        // address of the page; empty: none
	File     string        // the report as JSON; empty: none
	Every    time.Duration // between two writings of the file; zero: at the end and when asked
	Out      io.Writer     // the report for people goes here, at the end and when asked
	Ask      <-chan os.Signal
	Ready    func(listen, page net.Addr) // told once requests are taken; page may be nil; may be nil
}

// Waits of a run.
const (
	headerWithin = 30 * time.Second
	idleWithin   = 5 * time.Minute
	stopWithin   = 20 * time.Second // what is under way at the end
)

// Run passes requests on until the context ends, and reports.
func Run(ctx context.Context, c Config) error {
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	p, err := NewProxy(c.ProxyConfig)
	if err != nil {
		return err
	}
	defer p.Close()
	var listening net.ListenConfig
	door, err := listening.Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("opening the shadow's door: %w", err)
	}
	alive, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	failed := make(chan error, 2)
	servers := []*http.Server{serve(alive, p, door, c, failed)}
	var pageAddr net.Addr
	if c.PageAt != "" {
		l, err := listening.Listen(ctx, "tcp", c.PageAt)
		if err != nil {
			return errors.Join(fmt.Errorf("opening the shadow's page: %w", err), servers[0].Close())
		}
		pageAddr = l.Addr()
		servers = append(servers, serve(alive, p.Page(), l, Config{ProxyConfig: c.ProxyConfig}, failed))
	}
	if c.Ready != nil {
		c.Ready(door.Addr(), pageAddr)
	}
	err = c.attend(ctx, p, failed)
	stop, cancel := context.WithTimeout(alive, stopWithin)
	defer cancel()
	for _, s := range servers {
		if s.Shutdown(stop) != nil {
			_ = s.Close() // what is still under way has had its time
		}
	}
	end() // upgraded connections, which no server knows any more
	p.Close()
	return errors.Join(err, c.tell(p), c.write(p))
}

// serve begins to serve at a listener.
func serve(ctx context.Context, h http.Handler, l net.Listener, c Config, failed chan<- error) *http.Server {
	s := &http.Server{
		Handler: h, TLSConfig: c.ServeTLS, ReadHeaderTimeout: headerWithin, IdleTimeout: idleWithin,
		BaseContext:                  func(net.Listener) context.Context { return ctx },
		ErrorLog:                     slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
		DisableGeneralOptionsHandler: true, // OPTIONS * is the upstream's to answer
		Protocols:                    new(http.Protocols),
	}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	go func() {
		var err error
		if c.ServeTLS != nil {
			err = s.ServeTLS(l, "", "")
		} else {
			err = s.Serve(l)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serving at %s: %w", l.Addr(), err)
		}
	}()
	return s
}

// attend reports when it is time to or when somebody asks, until the end.
func (c Config) attend(ctx context.Context, p *Proxy, failed <-chan error) error {
	var tick <-chan time.Time
	if c.Every > 0 && c.File != "" {
		t := time.NewTicker(c.Every)
		defer t.Stop()
		tick = t.C
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-tick:
			err = c.write(p)
		case <-c.Ask:
			err = errors.Join(c.tell(p), c.write(p))
		}
		if err != nil { // a full disk must not end what calls go through
			c.Log.Error("reporting", "err", err)
		}
	}
}

func (c Config) tell(p *Proxy) error {
	if c.Out == nil {
		return nil
	}
	return p.Report().Write(c.Out)
}

// write puts the report in its file, whole or not at all.
func (c Config) write(p *Proxy) error {
	if c.File == "" {
		return nil
	}
	text, err := json.MarshalIndent(p.Report(), "", "  ")
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(c.File), ".shadow-*")
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), c.File)
	}
	if err != nil {
		return fmt.Errorf("writing the report: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
