package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
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
	live  []live // a call for each client
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

// live is a call that goes on.
type live struct {
	call   string
	owner  string // base URL
	others []string
	handle string // path and query
}

// callsFor makes so many calls, and learns from a redirect who their owners are.
func (t *tandem) callsFor(ctx context.Context, clients int) error {
	for i := 0; len(t.live) < clients; i++ {
		at := t.fleet.Nodes[i%3]
		call := t.call(numbers.Add(1))
		to, err := t.ask(ctx, http.MethodPost, at.Public+"/api/calls", claims.PlainCall.Incoming(ownership.CallID(call)), 0)
		if err != nil {
			return err
		}
		u, err := url.Parse(to)
		if err != nil || to == "" {
			continue // it is the asked node's own
		}
		l := live{call: call, owner: u.Scheme + "://" + u.Host, handle: u.RequestURI()}
		for _, n := range t.fleet.Nodes {
			if n.Public != l.owner {
				l.others = append(l.others, n.Public)
			}
		}
		if len(l.others) != 2 {
			return fmt.Errorf("%s is no node's address", l.owner)
		}
		// The owner's bot takes it first.
		if _, err := t.ask(ctx, http.MethodPost, to, claims.PlainCall.Incoming(ownership.CallID(call)), 0); err != nil {
			return err
		}
		t.live = append(t.live, l)
	}
	return nil
}

func (t *tandem) do(ctx context.Context, client, i int, what string, n uint64) error {
	switch what {
	case "claim":
		return t.claim(ctx, i, t.call(n))
	case "owner":
		l := t.live[client]
		return t.follow(ctx, l, l.owner, n)
	case "relayed":
		l := t.live[client]
		return t.follow(ctx, l, l.others[i%2], n)
	case "local", "linearizable":
		_, err := t.ask(ctx, http.MethodGet, "http://"+t.fleet.Nodes[i].AdminAt+"/v1/calls/"+t.known+"?consistency="+what, "", 0)
		return err
	}
	return fmt.Errorf("nobody knows how to ask for %q", what)
}

// claim posts the first notification of a call; a redirect says who its owner is, 200 that
// the owner's bot has it.
func (t *tandem) claim(ctx context.Context, i int, call string) error {
	_, err := t.ask(ctx, http.MethodPost, t.fleet.Nodes[i].Public+"/api/calls", claims.PlainCall.Incoming(ownership.CallID(call)), 0)
	return err
}

// follow posts a later notification of a call to a node; a redirect would be no answer.
func (t *tandem) follow(ctx context.Context, l live, base string, n uint64) error {
	body := strings.NewReplacer(`"created"`, `"updated"`, `"incoming","direction"`, `"established","direction"`).Replace(claims.PlainCall.Incoming(ownership.CallID(l.call)))
	to, err := t.ask(ctx, http.MethodPost, base+l.handle, body, n)
	if err == nil && to != "" {
		err = fmt.Errorf("%s answered with a redirect to %s", base, to)
	}
	return err
}

// ask asks a door for something and returns where it is sent; message: its number in the
// headers of a notification, 0: it has none.
func (t *tandem) ask(ctx context.Context, method, to, body string, message uint64) (location string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, to, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	if body != "" {
		req.Header.Set("Authorization", "Bearer "+t.token)
		req.Header.Set("Content-Type", "application/json")
	}
	if message != 0 {
		req.Header.Set("X-Microsoft-Skype-Message-ID", fmt.Sprintf("00000000-0000-4000-8000-%012x", message))
	}
	res, err := t.http.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<16))
	if err == nil && res.StatusCode != http.StatusFound && res.StatusCode/100 != 2 {
		err = fmt.Errorf("%s answered %d: %s", to, res.StatusCode, text)
	}
	return res.Header.Get("Location"), err
}

// profile writes what the first node's processor does for a while.
func (t *tandem) profile(ctx context.Context, file string, lasts time.Duration) error {
	from := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", t.fleet.Nodes[0].AdminAt, max(1, int(lasts.Seconds())))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return err
	}
	res, err := (&http.Client{Transport: t.http.Transport}).Do(req) // it may take longer than an answer
	if err != nil {
		return fmt.Errorf("profiling: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("profiling: %s answered %d", from, res.StatusCode)
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
