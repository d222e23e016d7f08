package tandemtest

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestEachSampleKeepsTheContract: by the rules, and with an unkind cloud that calls it
// through a real node.
func TestEachSampleKeepsTheContract(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED with -short: starts nodes")
	}
	t.Parallel()
	const secret = "shared by bot and router"
	var tries []try
	for _, s := range []struct{ name, program, file string }{
		{"go", "go", "../examples/go"}, {"node", "node", "../examples/node/bot.mjs"}, {"python", "python3", "../examples/python/bot.py"},
	} {
		tries = append(tries, try{s.name, func(t *testing.T) {
			program, err := exec.LookPath(s.program)
			if err != nil {
				t.Skipf("SKIPPED: %s is not installed: NOBODY RAN examples/%s", s.program, s.name)
			}
			args := []string{s.file}
			if s.program == "go" {
				built := filepath.Join(t.TempDir(), "bot")
				if out, err := exec.CommandContext(t.Context(), program, "build", "-o", built, s.file).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				program, args = built, nil
			}
			at := freePort(t)
			_, port, err := net.SplitHostPort(at)
			if err != nil {
				t.Fatal(err)
			}
			bot := exec.CommandContext(t.Context(), program, append(args, port)...)
			bot.Env = append(os.Environ(), "BOT_SECRET="+secret)
			bot.Stderr = t.Output()
			if err := bot.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = bot.Process.Kill() // it may have ended, which the calls have told
				_ = bot.Wait()         // it was killed
			}()
			awaitListener(t, at)
			TestURL(t, "http://"+at+"/", Options{Secret: secret, Unkind: true})
		}})
	}
	allAtOnce(t, tries)
}

// try is a subtest that mostly waits.
type try struct {
	name string
	run  func(*testing.T)
}

// allAtOnce runs subtests side by side, more of them than there are processors.
func allAtOnce(t *testing.T, tries []try) {
	var all sync.WaitGroup
	for _, one := range tries {
		all.Go(func() { t.Run(one.name, one.run) })
	}
	all.Wait()
}

// freePort is an address that nobody listens at.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func awaitListener(t *testing.T, at string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", at)
		if err == nil {
			_ = c.Close() // nothing was sent
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("the sample does not listen: %v", err)
		}
	}
}
