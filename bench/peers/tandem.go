package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"tandem/faultrig/claims"
	"tandem/faultrig/fleet"
	"tandem/graphsim"
	"tandem/ownership"
)

// tandem is a region of three processes of it, with a bot beside each.
type tandem struct {
	fleet *fleet.Fleet
	http  *http.Client
	token string
	known string // the call that is looked up
}

// startTandem builds the product of this checkout and starts a region that takes calls.
func startTandem(ctx context.Context, dir string) (t *tandem, err error) {
	program := filepath.Join(dir, "tandem")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/tandem")
	build.Dir = filepath.Join("..", "..")
	if text, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building it: %w: %s", err, text)
	}
	kind := graphsim.Kind()
	f, err := fleet.New(ctx, program, fleet.Options{Rates: &kind})
	if err != nil {
		return nil, err
	}
	t = &tandem{fleet: f, http: &http.Client{
		Timeout:       20 * time.Second,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 512},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	if t.token, err = f.Cloud.Mint(graphsim.TokenOptions{Audience: fleet.ClaimsApp, Tenant: fleet.ClaimsTenant, Life: 12 * time.Hour}); err != nil {
		return t, err
	}
	t.known = t.call(numbers.Add(1))
	return t, t.claim(ctx, 0, t.known)
}

func (t *tandem) call(n uint64) string { return fmt.Sprintf("%032x", n) }

func (t *tandem) do(ctx context.Context, i int, what string, n uint64) error {
	switch what {
	case "claim":
		return t.claim(ctx, i, t.call(n))
	case "local", "linearizable":
		return t.ask(ctx, http.MethodGet, "http://"+t.fleet.Nodes[i].AdminAt+"/v1/calls/"+t.known+"?consistency="+what, "")
	}
	return fmt.Errorf("nobody knows how to ask for %q", what)
}

// claim posts the first notification of a call; a redirect says who its owner is, 200 that
// the owner's bot has it.
func (t *tandem) claim(ctx context.Context, i int, call string) error {
	return t.ask(ctx, http.MethodPost, t.fleet.Nodes[i].Public+"/api/calls", claims.PlainCall.Incoming(ownership.CallID(call)))
}

func (t *tandem) ask(ctx context.Context, method, url, body string) error {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	if body != "" {
		req.Header.Set("Authorization", "Bearer "+t.token)
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := t.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<16))
	if err == nil && res.StatusCode != http.StatusFound && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %d: %s", url, res.StatusCode, text)
	}
	return err
}

// profile writes what the first node's processor does for a while.
func (t *tandem) profile(ctx context.Context, file string, lasts time.Duration) error {
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", t.fleet.Nodes[0].AdminAt, max(1, int(lasts.Seconds())))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := (&http.Client{Transport: t.http.Transport}).Do(req) // it may take longer than an answer
	if err != nil {
		return fmt.Errorf("profiling: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("profiling: %s answered %d", url, res.StatusCode)
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("profiling: %w", err)
	}
	return os.WriteFile(file, text, 0o600)
}

func (t *tandem) pids() []int {
	var all []int
	for _, n := range t.fleet.Nodes {
		all = append(all, n.Pid())
	}
	return all
}

func (t *tandem) close() { _ = t.fleet.Close() } // what the rig has to say of a fault is no matter here
