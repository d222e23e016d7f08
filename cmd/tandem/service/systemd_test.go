//go:build !windows

package service

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestWatchdog: systemd hears WATCHDOG=1 while the process answers, and no more once a
// part of it hangs, so that it is started anew.
func TestWatchdog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "100000") // a beat in 50 ms
	hears := func() string {
		text := make([]byte, 64)
		if err := systemd.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := systemd.Read(text)
		if err != nil {
			t.Fatalf("systemd hears nothing: %v", err)
		}
		return string(text[:n])
	}
	hangs, hung, asked, onItsWay := make(chan struct{}), make(chan struct{}), 0, 1 // one may be on its way when it begins to hang
	err = Run(t.Context(), func(ctx context.Context, c Controls) error {
		c.Ready()
		if got := hears(); got != "READY=1" {
			t.Errorf("systemd hears %q", got)
		}
		watched, end := context.WithCancel(ctx)
		defer end()
		over := make(chan struct{})
		go func() {
			defer close(over)
			c.Alive(watched, func(ctx context.Context) error {
				select {
				case <-hangs:
					if asked++; asked == 4 {
						close(hung)
					}
					<-ctx.Done()
					return errors.New("it hangs")
				default:
					return nil
				}
			})
		}()
		for range 2 {
			if got := hears(); got != "WATCHDOG=1" {
				t.Errorf("systemd hears %q", got)
			}
		}
		close(hangs)
		<-hung
		end()
		<-over
		c.Stopping()
		for got := hears(); got != "STOPPING=1"; got = hears() {
			if onItsWay--; onItsWay < 0 || got != "WATCHDOG=1" {
				t.Fatalf("systemd hears %q", got)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestServicesAreWindows(t *testing.T) {
	for name, err := range map[string]error{"install": Install(Spec{}), "remove": Remove(DefaultName), "start": Start(DefaultName)} {
		if !errors.Is(err, ErrElsewhere) || !strings.Contains(err.Error(), "systemctl") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
