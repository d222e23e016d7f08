package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"tandem/node"
)

func (a *app) startCommand() *cobra.Command {
	var f configFlags
	c := &cobra.Command{
		Use:   "start",
		Short: "run one node until it is told to stop",
		Long: `Runs one node in the foreground. The first node of a region is started with
cluster.bootstrap: true; the others name it in cluster.join, or are told later
with 'tandem join'. A node that has state ignores both and goes on where it was.

SIGHUP reads certificates and admin tokens again. SIGTERM lets requests under
way finish, gives up leadership and stops.`,
		Example: "  tandem start --config /etc/tandem/tandem.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(f.file, a.environ, f.sets)
			if err != nil {
				return err
			}
			reread := func() (node.Config, error) {
				fresh, err := loadConfig(f.file, a.environ, f.sets)
				if err != nil {
					return node.Config{}, err
				}
				return fresh.Config, nil
			}
			return a.start(cmd.Context(), cfg.Config, reread)
		},
	}
	f.register(c)
	return c
}

// start runs the node until SIGTERM, SIGINT or a fault that ends it. SIGHUP
// puts what reread gives in force.
func (a *app) start(ctx context.Context, cfg node.Config, reread func() (node.Config, error)) error {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer cancel()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	fatal := make(chan error, 1)
	cfg.Version = softwareVersion()
	cfg.Fatal = func(err error) {
		select {
		case fatal <- err:
		default:
		}
	}
	n, err := node.Start(ctx, cfg)
	if err != nil {
		return fmt.Errorf("starting node %s: %w", cfg.Node.ID, err)
	}
	notify(daemon.SdNotifyReady)
	for {
		select {
		case <-hup:
			fresh, err := reread()
			if err == nil {
				err = n.Reload(fresh)
			}
			if err != nil {
				slog.Error("reloading: what was in force stays", "error", err)
			}
		case err := <-fatal:
			// Whatever made the node give up may also hang its stop: leave at once,
			// the supervisor starts it again.
			return fmt.Errorf("node %s cannot go on: %w", cfg.Node.ID, err)
		case <-ctx.Done():
			notify(daemon.SdNotifyStopping)
			stop, done := context.WithTimeout(context.Background(), cfg.Public.Grace*2)
			defer done()
			return n.Stop(stop)
		}
	}
}

// notify tells systemd; without systemd it does nothing.
func notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		slog.Warn("telling systemd", "state", state, "error", err)
	}
}
