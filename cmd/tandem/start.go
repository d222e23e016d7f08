package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"tandem/cmd/tandem/service"
	"tandem/node"
)

func (a *app) startCommand() *cobra.Command {
	var f configFlags
	c := &cobra.Command{
		Use:   "start",
		Short: "run one node until it is told to stop",
		Long: `Runs one node in the foreground. The first node of a new region is told once to
found it, with 'tandem found'; the others name it in cluster.join, or are told
later with 'tandem join'. A node that has state goes on where it was.

SIGHUP and 'tandem reload' read the configuration again and put in force what needs no restart:
rules, pins, the log level, and what these files hold: certificates, handle keys
and the admin tokens. If one of them cannot be read, all stay as they were; what
waits for a restart is named in the log.

SIGTERM drains: the node takes no new calls, hands on the lead and every partition
whose calls can be moved, and waits for the others until they end or node.drain is
over; all the while it gets its notifications. A second SIGTERM ends it at once.
Started again, it takes new calls again, unless an operator has drained it.`,
		Example: "  tandem start --config /etc/tandem/tandem.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return service.Run(cmd.Context(), func(ctx context.Context, super service.Controls) error {
				reread := func() (node.Config, error) {
					fresh, err := loadConfig(f.file, a.environ, f.sets)
					if err != nil {
						return node.Config{}, err
					}
					return fresh.Config, nil
				}
				cfg, err := reread()
				if err != nil {
					return err
				}
				cfg.LogTo = super.Log
				return a.start(ctx, cfg, reread, super)
			})
		},
	}
	f.register(c)
	return c
}

// start runs the node until SIGTERM, SIGINT, its supervisor or a fault ends it. What asks
// for a reload puts in force what reread gives.
func (a *app) start(ctx context.Context, cfg node.Config, reread func() (node.Config, error), super service.Controls) error {
	ends := make(chan os.Signal, 2)
	signal.Notify(ends, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(ends)
	fatal := make(chan error, 1)
	cfg.Version = softwareVersion()
	cfg.Reread = reread
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
	super.Ready()
	watched, over := context.WithCancel(context.WithoutCancel(ctx))
	defer over()
	go super.Alive(watched, n.Alive)
	for {
		select {
		case <-super.Reload:
			_, _ = n.Reread() // the node's log says what was wrong
		case err := <-fatal:
			// Whatever made the node give up may also hang its stop: leave at once,
			// the supervisor starts it again.
			return fmt.Errorf("node %s cannot go on: %w", cfg.Node.ID, err)
		case <-ctx.Done():
			super.Stopping()
			return windDown(n, cfg, ends, fatal)
		case <-ends:
			super.Stopping()
			return windDown(n, cfg, ends, fatal)
		}
	}
}

// hurry bounds the stop of a node that was told to end at once.
const hurry = 3 * time.Second

// windDown drains the node and stops it. A second signal ends the drain and cuts
// the stop short; a third one kills the process, as signals do.
func windDown(n *node.Node, cfg node.Config, ends <-chan os.Signal, fatal <-chan error) error {
	drain, enough := context.WithCancel(context.Background())
	defer enough()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		n.Drain(drain)
	}()
	limit := cfg.Public.Grace * 2
	select {
	case <-drained:
	case <-ends:
		signal.Reset(syscall.SIGTERM, os.Interrupt)
		n.Log().Warn("told a second time: ending at once")
		limit = hurry
		enough()
		<-drained
	case err := <-fatal:
		return fmt.Errorf("node %s cannot go on: %w", cfg.Node.ID, err)
	}
	stop, done := context.WithTimeout(context.Background(), limit)
	defer done()
	return n.Stop(stop)
}
