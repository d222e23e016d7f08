package acme

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
	"golang.org/x/net/netutil"
)

// Bounds of the port at which the authority asks: what it asks is small and rare.
const (
	webConnections = 128
	webTimeout     = 5 * time.Second
	webHeader      = 8 << 10
)

// challenges answers HTTP01, for whichever node of the region ordered.
type challenges struct {
	server *http.Server
	done   chan struct{}
}

func serveChallenges(at net.Listener, issuer *certmagic.ACMEIssuer, hosts []string, log *slog.Logger) *challenges {
	c := &challenges{done: make(chan struct{}), server: &http.Server{
		ReadTimeout: webTimeout, WriteTimeout: webTimeout, IdleTimeout: webTimeout, MaxHeaderBytes: webHeader,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			host, _, err := net.SplitHostPort(r.Host)
			if err != nil {
				host = r.Host
			}
			if !slices.Contains(hosts, strings.ToLower(host)) || !issuer.HandleHTTPChallenge(w, r) {
				http.Error(w, "this port answers the challenges of certificates only", http.StatusNotFound)
			}
		}),
	}}
	go func() {
		defer close(c.done)
		if err := c.server.Serve(netutil.LimitListener(at, webConnections)); !errors.Is(err, http.ErrServerClosed) {
			log.Warn("the port for challenges of certificates is closed", "err", err)
		}
	}()
	return c
}

func (c *challenges) close() {
	_ = c.server.Close() // an order that needs it is given up
	<-c.done
}

// hook solves DNS01 by a command of the operator, run without a shell:
//
//	COMMAND... present _acme-challenge.HOST VALUE
//	COMMAND... cleanup _acme-challenge.HOST VALUE
//
// present ends with 0 once the authority can see the TXT record, beside others of that
// name; cleanup takes that one value away.
type hook struct {
	command []string
	log     *slog.Logger
}

// hookWithin bounds one run of the command: it waits for name servers.
const hookWithin = 5 * time.Minute

// mostSaid bounds what of the command's last words is told.
const mostSaid = 200

func (h hook) run(ctx context.Context, what string, of acme.Challenge) error {
	ctx, cancel := context.WithTimeout(ctx, hookWithin)
	defer cancel()
	args := append(slices.Clone(h.command[1:]), what, of.DNS01TXTRecordName(), of.DNS01KeyAuthorization())
	cmd := exec.CommandContext(ctx, h.command[0], args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		last := strings.Join(strings.Fields(strings.ToValidUTF8(string(out[max(0, len(out)-mostSaid):]), "")), " ")
		return fmt.Errorf("running dns_command (%s %s): %w: %s", what, of.DNS01TXTRecordName(), err, last)
	}
	return nil
}

// Present implements acmez.Solver.
func (h hook) Present(ctx context.Context, of acme.Challenge) error { return h.run(ctx, "present", of) }

// CleanUp implements acmez.Solver.
func (h hook) CleanUp(ctx context.Context, of acme.Challenge) error {
	if err := h.run(context.WithoutCancel(ctx), "cleanup", of); err != nil {
		h.log.Warn("a TXT record may be left behind", "err", err)
	}
	return nil
}
