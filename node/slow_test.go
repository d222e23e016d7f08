package node

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/graphsim"
)

// slowClients is how many connections each slow test holds open.
const slowClients = 1000

// descriptors counts the open files of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(all)
}

// TestB65_B72_SlowHTTPTest runs Debian's slowhttptest with a thousand slow
// clients of each kind against a real node. Good notifications go on being
// answered, and file descriptors and goroutines are back to base within a
// minute. It does not run beside other tests: it counts the process's own
// descriptors.
func TestB65_B72_SlowHTTPTest(t *testing.T) {
	long(t, "B65, B72: three thousand slow clients take more than a minute")
	tool, err := exec.LookPath("slowhttptest")
	if err != nil {
		t.Skip("B65, B72: slowhttptest is not installed (Debian: apt-get install slowhttptest)")
	}
	s := deploy(t, plan{nodes: 1, sim: func(c *graphsim.Config) { c.Timings.TokenLife = time.Hour }})
	x := s.seats[0]
	token, legacy := s.token(testTenant), sample(t, "legacy-skype-incoming.json", newCall())
	if a := s.post(x.webhook(), token, legacy); a.status != http.StatusNoContent {
		t.Fatalf("before anything slow: %+v", a)
	}
	s.outside.CloseIdleConnections()
	baseFiles, baseRoutines := descriptors(t), runtime.NumGoroutine()

	for _, c := range []struct {
		name string
		args []string
	}{
		{"B65 slow headers", []string{"-H", "-i", "2"}},
		// The worst case: a good token, for without one nobody waits for the body. The
		// tool has no flag for it, but writes what stands for Accept as it is.
		{"B65 B72 slow body", []string{"-B", "-i", "1", "-s", "8192", "-x", "1", "-f", "application/json", "-m", "*/*\r\nAuthorization: Bearer " + token}},
		{"B65 slow reading", []string{"-X", "-k", "8", "-n", "5", "-w", "1", "-y", "16", "-z", "1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := slices.Concat(c.args, []string{"-c", fmt.Sprint(slowClients), "-r", "400", "-l", "15", "-p", "5", "-u", x.webhook(),
				"-g", "-o", filepath.Join(t.TempDir(), "slow")})
			cmd := exec.CommandContext(t.Context(), tool, args...)
			var out strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &out
			must(t, cmd.Start())
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			var took []time.Duration
			most := 0
			for running := true; running; {
				select {
				case err := <-ended:
					if err != nil {
						t.Errorf("slowhttptest: %v\n%s", err, tail(out.String()))
					}
					running = false
				default:
					began := time.Now()
					if a := s.post(x.webhook(), token, legacy); a.status != http.StatusNoContent {
						t.Fatalf("a good notification beside slow clients: %+v", a)
					}
					took = append(took, time.Since(began))
					most = max(most, descriptors(t))
				}
			}
			if len(took) == 0 {
				t.Fatal("slowhttptest ended before anything could be measured")
			}
			slices.Sort(took)
			t.Logf("%d good notifications, p50 %v, p99 %v, longest %v; at most %d descriptors beside %d of before",
				len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1], most, baseFiles)
			if p99 := took[len(took)*99/100]; p99 > 2*time.Second {
				t.Errorf("the p99 of good notifications was %v", p99)
			}
			if most < baseFiles+slowClients/4 {
				t.Errorf("at most %d descriptors were open: the slow clients did not get in", most)
			}
		})
	}

	s.outside.CloseIdleConnections()
	eventually(t, "I9: descriptors and goroutines are back to base within a minute", func() error {
		files, routines := descriptors(t), runtime.NumGoroutine()
		if files <= baseFiles+20 && routines <= baseRoutines+40 {
			return nil
		}
		return fmt.Errorf("%d descriptors (before: %d), %d goroutines (before: %d)", files, baseFiles, routines, baseRoutines)
	})
}

// tail returns the last of what a program wrote.
func tail(out string) string { return out[max(0, len(out)-2000):] }
