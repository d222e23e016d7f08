package tandemtest

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/conformance"
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
	for _, s := range []struct {
		name, needs string
		build       []string // {out} is the file to make
		run         []string
	}{
		{"go", "go", []string{"go", "build", "-o", "{out}", "../examples/go"}, []string{"{out}"}},
		{"node", "node", nil, []string{"node", "../examples/node/bot.mjs"}},
		{"python", "python3", nil, []string{"python3", "../examples/python/bot.py"}},
		// Of C# what Mono's compiler knows: not Program.cs and TandemMiddleware.cs, which need
		// ASP.NET Core.
		{"csharp without ASP.NET", "mcs", []string{"mcs", "-warnaserror", "-out:{out}", "../examples/csharp/Contract.cs", "../examples/csharp/Loopback.cs"}, []string{"mono", "{out}"}},
	} {
		tries = append(tries, try{s.name, func(t *testing.T) {
			if _, err := exec.LookPath(s.needs); err != nil {
				t.Skipf("SKIPPED: %s is not installed: NOBODY RAN THE SAMPLE FOR %s", s.needs, s.name)
			}
			out := filepath.Join(t.TempDir(), "bot.exe")
			command := func(words []string, more ...string) *exec.Cmd {
				words = append(slices.Clone(words), more...)
				for i := range words {
					words[i] = strings.Replace(words[i], "{out}", out, 1)
				}
				return exec.CommandContext(t.Context(), words[0], words[1:]...)
			}
			if s.build != nil {
				if said, err := command(s.build).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, said)
				}
			}
			at := freePort(t)
			_, port, err := net.SplitHostPort(at)
			if err != nil {
				t.Fatal(err)
			}
			bot := command(s.run, port)
			bot.Env = append(os.Environ(), "BOT_SECRET="+secret)
			begin(t, bot, at)
			TestURL(t, "http://"+at+"/", Options{Secret: secret, Unkind: true})
		}})
	}
	allAtOnce(t, tries)
}

// TestTheTenLinesOfTheReadmeAreABot: what README.md shows keeps the contract as it stands.
func TestTheTenLinesOfTheReadmeAreABot(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("SKIPPED: node is not installed: NOBODY RAN THE BOT OF README.md")
	}
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "```js\n")
	program, _, found := strings.Cut(after, "```")
	at := freePort(t)
	_, port, err := net.SplitHostPort(at)
	if err != nil || !found || !strings.Contains(program, "9442") {
		t.Fatalf("README.md has no bot that listens on 9442: %v", err)
	}
	program = strings.Replace(program, "9442", port, 1)
	begin(t, exec.CommandContext(t.Context(), "node", "--input-type=module", "-e", program), at)
	for _, v := range conformance.Run(t.Context(), conformance.Target{URL: "http://" + at + "/"}) {
		if v.Verdict == conformance.Failed {
			t.Errorf("%+v", v)
		}
	}
}

// begin starts a bot and waits until it listens; it ends with the test.
func begin(t *testing.T, bot *exec.Cmd, at string) {
	t.Helper()
	bot.Stderr = t.Output()
	if err := bot.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = bot.Process.Kill() // it may have ended, which the calls have told
		_ = bot.Wait()         // it was killed
	})
	awaitListener(t, at)
}

// try is a subtest that mostly waits.
type try struct {
	name string
	run  func(*testing.T)
}

// atOnce is how many nodes may start at once beside other tests of this machine.
const atOnce = 3

// allAtOnce runs subtests side by side, some more of them than there are processors.
func allAtOnce(t *testing.T, tries []try) {
	var all sync.WaitGroup
	room := make(chan struct{}, atOnce)
	for _, one := range tries {
		all.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			t.Run(one.name, one.run)
		})
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
