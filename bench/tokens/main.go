// Command tokens measures the verification of bearer tokens against a real
// verifier and a simulated issuer over HTTP:
//
//	go run ./bench/tokens            verdicts, then 65 s of unknown keys
//	go run ./bench/tokens -for 0     verdicts only
//
// It makes more than a hundred good and bad tokens at run time and compares each
// verdict with the wanted one; then it sends good tokens, every one new, in turns
// alone and beside ten thousand tokens a second whose key nobody knows, and
// prints how often the issuer's keys were fetched and the p99 of the good ones.
//
// A token whose key is unknown may get 503 where 401 is wanted: the set is fetched
// for one of them a minute, and the others are in doubt until it was.
//
// It exits with 1 when a verdict is not the wanted one, when the keys are fetched
// more than once a minute because of the flood, or when the p99 of good tokens
// beside the flood is more than 1.5 times the quiet one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"tandem/graphsim"
	"tandem/token"
)

const (
	app    = "0efc74f7-41c3-47a4-8775-7259bfef4241"
	tenant = "8986d25d-ed3f-4bb8-b739-14d2fcc37b09"
)

func main() {
	lasts := flag.Duration("for", 65*time.Second, "how long the flood of unknown keys lasts; 0: none")
	verbose := flag.Bool("v", false, "print every verdict")
	flag.Parse()
	if err := run(context.Background(), *lasts, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "bench/tokens:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, lasts time.Duration, verbose bool) error {
	cloud, err := graphsim.Start(ctx, graphsim.Config{
		Apps:    []graphsim.App{{ID: app, Tenants: []string{tenant}}},
		Timings: graphsim.Timings{TokenLife: 5 * time.Minute},
	})
	if err != nil {
		return fmt.Errorf("starting the issuer: %w", err)
	}
	defer cloud.Close()
	v, err := token.New(ctx, token.Config{Profiles: []token.Profile{{
		Name: "simulated", OpenIDURL: []string{cloud.OpenIDURL()},
		Issuers: []string{graphsim.IssuerBotFramework, graphsim.IssuerGraph},
	}}}, []token.App{{ID: app, Tenants: []string{tenant}, Profile: "simulated"}})
	if err != nil {
		return fmt.Errorf("making the verifier: %w", err)
	}
	defer func() { _ = v.Close() }() // nothing of it is kept
	patience, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := v.WaitReady(patience); err != nil {
		return fmt.Errorf("waiting for the issuer's keys: %w", err)
	}
	return errors.Join(verdicts(ctx, cloud, v, verbose), flood(ctx, cloud, v, lasts))
}
