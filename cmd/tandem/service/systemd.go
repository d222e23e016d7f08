//go:build !windows

package service

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Run runs a node under systemd, or under nobody. SIGHUP asks for a reload.
func Run(ctx context.Context, do func(context.Context, Controls) error) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	reload := make(chan struct{})
	ctx, over := context.WithCancel(ctx)
	defer over()
	go func() {
		for {
			select {
			case <-hup:
			case <-ctx.Done():
				return
			}
			select {
			case reload <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return do(ctx, Controls{
		Reload: reload,
		Ready:  func() { notify(daemon.SdNotifyReady) }, Stopping: func() { notify(daemon.SdNotifyStopping) },
		Alive: watchdog,
	})
}

// watchdog tells systemd twice in WatchdogSec that the process lives, as long as it does.
func watchdog(ctx context.Context, ask func(context.Context) error) {
	within, err := daemon.SdWatchdogEnabled(false)
	if err != nil || within == 0 {
		return
	}
	beat := time.NewTicker(within / 2)
	defer beat.Stop()
	for {
		asked, enough := context.WithTimeout(ctx, within/2)
		err := ask(asked)
		enough()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			slog.Error("systemd's watchdog is not told that this process lives", "err", err)
		default:
			notify(daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
		}
	}
}

// notify tells systemd; without systemd it does nothing.
func notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		slog.Warn("telling systemd", "state", state, "err", err)
	}
}

// Install is for Windows.
func Install(Spec) error { return ErrElsewhere }

// Remove is for Windows.
func Remove(string) error { return ErrElsewhere }

// Start is for Windows.
func Start(string) error { return ErrElsewhere }

// Stop is for Windows.
func Stop(string, time.Duration) error { return ErrElsewhere }

// Status is for Windows.
func Status(string) (string, error) { return "", ErrElsewhere }
