// Command decision measures what one decision of the webhook costs beside what users
// would put there instead: a notification of 2.2 KB comes with a bearer token, the token
// is verified, the call's id is read from the body, and a 302 says where the call is.
//
//	go run ./bench/decision                     all doors, 15 rounds of 4,000 requests
//	go run ./bench/decision -only tandem -cpu F  one door, with a CPU profile of it in F
//
// The doors are processes of one core each:
//   - constant: net/http that reads the body and answers a fixed 302, the floor for any door in Go
//   - tandem: the real door with its limits and trail, its log at level info, the real verifier
//     of tokens, and a table in memory that knows the call
//   - haproxy: jwt_verify with algorithm, issuer, audience and time, and json_query; no log.
//   - nginx: the same checks in njs, by WebCrypto; no log
//
// The last two are left out where they are not installed (Debian: apt-get install haproxy
// nginx-light libnginx-mod-http-js).
//
// Each round goes through all doors, with tokens that repeat and with tokens of which
// each is new to the door. What counts is CPU time a request, all threads, as the kernel
// counted it: rates depend on what else the machine does. A busy neighbour on the same core
// costs CPU time, too, and all doors alike: the ratios are medians of those of each round.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	bench "tandem/bench/region"
	"tandem/graphsim"
)

const (
	app    = "0efc74f7-41c3-47a4-8775-7259bfef4241"
	tenant = "8986d25d-ed3f-4bb8-b739-14d2fcc37b09"
	// newTokens are more than the door remembers (8,192), in turn: none is known when it
	// comes again.
	newTokens      = 12_288
	repeatedTokens = 64
	clients        = 16
)

func main() {
	rounds := flag.Int("rounds", 15, "how often all doors are gone through")
	requests := flag.Int("requests", 4_000, "requests to a door in a round, for each kind of tokens")
	only := flag.String("only", "", "measure this door only")
	profile := flag.String("cpu", "", "write a CPU profile of the door in Go here")
	kinds := flag.String("tokens", "repeated,new", "kinds of tokens")
	serve := flag.String("serve", "", "be this door, for the program itself")
	openID := flag.String("openid", "", "the issuer's document, for -serve")
	flag.Parse()
	var err error
	if *serve != "" {
		err = serveDoor(*serve, *openID, *profile)
	} else {
		err = run(context.Background(), plan{*rounds, *requests, *only, *profile, strings.Split(*kinds, ",")})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/decision:", err)
		os.Exit(1)
	}
}

type plan struct {
	rounds, requests int
	only, profile    string
	kinds            []string
}

func run(ctx context.Context, p plan) error {
	cloud, err := graphsim.Start(ctx, graphsim.Config{
		Apps:    []graphsim.App{{ID: app, Tenants: []string{tenant}}},
		Timings: graphsim.Timings{TokenLife: 12 * time.Hour},
	})
	if err != nil {
		return fmt.Errorf("starting the issuer: %w", err)
	}
	defer cloud.Close()
	fmt.Println(machine(ctx))
	requests := map[string][][]byte{}
	for kind, n := range map[string]int{"repeated": repeatedTokens, "new": newTokens} {
		if slices.Contains(p.kinds, kind) {
			if requests[kind], err = mint(cloud, n); err != nil {
				return err
			}
		}
	}
	doors, err := open(ctx, cloud, p)
	defer func() {
		for _, d := range doors {
			d.close()
		}
	}()
	if err != nil {
		return err
	}
	for _, d := range doors { // the first requests grow heaps and connections
		if err := load(ctx, d.addr, requests[p.kinds[0]], 0, 2000); err != nil {
			return fmt.Errorf("warming %s up: %w", d.name, err)
		}
	}
	took := map[string][]float64{}
	for round := range p.rounds {
		for _, kind := range p.kinds {
			for _, d := range doors {
				before := d.cpu()
				if err := load(ctx, d.addr, requests[kind], round*p.requests, p.requests); err != nil {
					return fmt.Errorf("asking %s: %w", d.name, err)
				}
				took[d.name+kind] = append(took[d.name+kind], float64((d.cpu()-before).Nanoseconds())/1000/float64(p.requests))
			}
		}
	}
	report(doors, p.kinds, took)
	return nil
}

// report prints medians in µs, and how they compare with HAProxy's and the constant's.
func report(doors []*door, kinds []string, took map[string][]float64) {
	fmt.Println("\n| door | tokens | CPU µs a request | least … most | HAProxy ÷ it | nginx ÷ it | it ÷ constant |\n|---|---|---|---|---|---|---|")
	for _, kind := range kinds {
		for _, d := range doors {
			all := took[d.name+kind]
			fmt.Printf("| %s | %s | %.1f | %.1f … %.1f | %s | %s | %s |\n", d.name, kind, median(all), slices.Min(all), slices.Max(all),
				ratio(took["haproxy"+kind], all), ratio(took["nginx"+kind], all), ratio(all, took["constant"+kind]))
		}
	}
}

// ratio is the median of the rounds' ratios; of a door that was left out there is none.
func ratio(a, b []float64) string {
	if len(a) == 0 || len(b) == 0 {
		return "–"
	}
	each := make([]float64, len(a))
	for i := range a {
		each[i] = a[i] / b[i]
	}
	return fmt.Sprintf("%.2f", median(each))
}

func median(all []float64) float64 {
	s := slices.Sorted(slices.Values(all))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// machine says what was measured on, and beside what.
func machine(ctx context.Context) string {
	all := []string{bench.Machine()}
	for _, f := range foreign {
		all = append(all, f.says(ctx))
	}
	return strings.Join(all, ", ")
}
