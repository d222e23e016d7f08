package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/cmd/tandem/doors"
	"tandem/ownership"
)

// captureHead is the first line of a capture.
type captureHead struct {
	Format     int       `json:"tandem_capture"` // 1
	Deployment string    `json:"deployment"`
	Region     string    `json:"region"`
	Begun      time.Time `json:"begun"`
}

// captureFormat is the one that this software writes and reads.
const captureFormat = 1

// mostLine bounds a line of a capture, in bytes.
const mostLine = 64 << 10

// captures are the verbs that take calls along and hold rules against them.
type captures struct{ *app }

func (a captures) captureCommand() *cobra.Command {
	var (
		file string
		ask  client.CaptureAsk
	)
	c := &cobra.Command{
		Use:   "capture",
		Short: "write down new calls as they ring, without persons, to hold rules against them later",
		Long: `Writes what the rules can see of each new call that rings in the asked region, a line of
JSON a call, and the region where it went. No body, no token and no call id is in it, and
persons, threads and chains have names that only say which are the same. Tenants, apps
and regions are as they were, for rules are about them.

Nothing is captured while no such command runs. It ends by itself, after --for or --most.
Nodes whose admin door cannot be reached from here are named; run it on their machines.`,
		Example: `  tandem capture --for 10m --out calls.jsonl
  tandem capture --recent --for 1s --out calls.jsonl      what the nodes remember: 4,096 calls each`,
	}
	c.RunE = a.asking(func(ctx context.Context, door *client.Client, _ []string) (err error) {
		if ask.For < time.Second || ask.For > api.CaptureTime {
			return usage("--for is %s: write a time from 1s to %s", ask.For, api.CaptureTime)
		}
		if ask.Most < 1 || ask.Most > api.CaptureCalls {
			return usage("--most is %d: write a number from 1 to %d", ask.Most, api.CaptureCalls)
		}
		out := a.out
		if file != "" {
			f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err != nil {
				return fmt.Errorf("making the capture: %w", err)
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			out = f
		}
		return a.capture(ctx, door, ask, out)
	})
	c.Flags().DurationVar(&ask.For, "for", time.Minute, "how long; at most 1h")
	c.Flags().IntVar(&ask.Most, "most", 10_000, "at most so many calls")
	c.Flags().BoolVar(&ask.Recent, "recent", false, "begin with the calls that the nodes remember")
	c.Flags().StringVarP(&file, "out", "o", "", "the file to make; it must not exist; empty: standard output")
	return c
}

// capture listens at all doors of the asked region at once.
func (a captures) capture(ctx context.Context, asked *client.Client, ask client.CaptureAsk, w io.Writer) error {
	self, err := asked.Status(ctx)
	if err != nil {
		return err
	}
	all, err := doors.All(ctx, asked, lookouts(a).dial, true)
	if err != nil {
		return err
	}
	defer doors.Close(all, asked)
	if !slices.ContainsFunc(all, func(d doors.Door) bool { return d.Client == asked }) { // it is no part of its region now
		all = append(all, doors.Door{Client: asked})
	}
	out := json.NewEncoder(w)
	if err := out.Encode(captureHead{captureFormat, self.Deployment, string(self.Region), self.Now}); err != nil {
		return fmt.Errorf("writing the capture: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var (
		mu     sync.Mutex
		wait   sync.WaitGroup
		failed error
		n      int
		again  = map[ownership.CallID]bool{}
		missed int64
	)
	enough := errors.New("enough")
	for _, d := range all {
		if d.Err != nil {
			a.done("not captured at %s: %v", d.Node.ID, d.Err)
			continue
		}
		wait.Go(func() {
			end, err := client.Captures{Client: d.Client}.Capture(ctx, ask, func(k api.Captured) error {
				mu.Lock()
				defer mu.Unlock()
				if again[k.Call] { // the cloud rings at several nodes
					return nil
				}
				again[k.Call] = true
				if n == ask.Most {
					stop()
					return enough
				}
				n++
				if err := out.Encode(k); err != nil {
					failed = fmt.Errorf("writing the capture: %w", err)
					stop()
					return failed
				}
				return nil
			})
			mu.Lock()
			defer mu.Unlock()
			missed += end.Missed
			if err != nil && !errors.Is(err, enough) && ctx.Err() == nil {
				a.done("not captured to the end at %s: %v", d.Node.ID, err)
				if d.Client == asked {
					failed = errors.Join(failed, err)
				}
			}
		})
	}
	wait.Wait()
	if failed != nil {
		return failed
	}
	a.done("captured %d calls", n)
	if missed > 0 {
		a.done("missed %d calls, which came too fast", missed)
	}
	return nil
}

func (a captures) replayCommand() *cobra.Command {
	var (
		rules string
		diff  bool
	)
	c := &cobra.Command{
		Use:   "replay FILE",
		Short: "where captured calls would go by other rules, or by those in force",
		Long: `Holds the calls of a capture ('tandem capture'; - reads standard input) against the rules
in --rules, or without it against those in force, as the regions are now, and says which
would go elsewhere than they went. With --diff it says which would go elsewhere than by
the rules in force: what a change of the rules alone does, whatever else has changed since
the capture. The asked node judges, by the same code as for real calls; nothing changes.

Rules that name a person or a thread match nobody here, and spread by a thread gives other
homes than the real ones had, but one for each thread: their names are hidden.`,
		Example: `  tandem replay calls.jsonl --rules new.yaml --diff
  tandem replay calls.jsonl                     would they go where they went?`,
		Args: cobra.ExactArgs(1),
		RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
			ask := api.ReplayAsk{Diff: diff}
			if rules != "" {
				text, _, err := rulesVerbs(a).read(rules)
				if err != nil {
					return err
				}
				ask.Text = text
			}
			in, err := openInput(args[0])
			if err != nil {
				return fmt.Errorf("reading the capture: %w", err)
			}
			defer in.Close()
			var sum api.RulesDiff
			err = readCapture(in, func(calls []api.Captured) error {
				ask.Calls = calls
				d, err := client.Captures{Client: c}.Replay(ctx, ask)
				if err == nil {
					sum = plus(sum, d)
				}
				return err
			})
			if err != nil {
				return err
			}
			return a.print(sum, diffRows(sum, time.Now()))
		}),
	}
	c.Flags().StringVar(&rules, "rules", "", "file with the rules to judge by; empty: those in force")
	c.Flags().BoolVar(&diff, "diff", false, "compare with the rules in force instead of with where the calls went")
	return c
}

// readCapture reads a capture and hands it on in parts of at most api.ReplayCalls calls.
func readCapture(in io.Reader, each func([]api.Captured) error) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, mostLine)
	var part []api.Captured
	number := 0
	for lines.Scan() {
		number++
		if len(lines.Bytes()) == 0 {
			continue
		}
		if number == 1 {
			var head captureHead
			if err := json.Unmarshal(lines.Bytes(), &head); err != nil || head.Format == 0 {
				return errors.New("reading the capture: its first line is not that of 'tandem capture'")
			}
			if head.Format != captureFormat {
				return fmt.Errorf("reading the capture: it is of format %d, this software reads %d", head.Format, captureFormat)
			}
			continue
		}
		var k api.Captured
		if err := json.Unmarshal(lines.Bytes(), &k); err != nil || k.Call == "" || k.Facts == nil {
			return fmt.Errorf("reading the capture: line %d holds no call", number)
		}
		if part = append(part, k); len(part) == api.ReplayCalls {
			if err := each(part); err != nil {
				return err
			}
			part = part[:0]
		}
	}
	switch err := lines.Err(); {
	case err != nil:
		return fmt.Errorf("reading the capture: line %d: %w", number+1, err)
	case number < 2:
		return errors.New("reading the capture: it holds no calls")
	case len(part) > 0:
		return each(part)
	}
	return nil
}

// mostExamples bounds the calls that are told one by one.
const mostExamples = 20

// plus adds the differences of two parts of one capture.
func plus(a, b api.RulesDiff) api.RulesDiff {
	if a.Recorded == 0 {
		return b
	}
	a.Recorded += b.Recorded
	a.Elsewhere += b.Elsewhere
	a.Repinned += b.Repinned
	a.Failing += b.Failing
	if b.Since.Before(a.Since) {
		a.Since = b.Since
	}
	for _, m := range b.Moves {
		if i := slices.IndexFunc(a.Moves, func(k api.RulesMoves) bool { return k.From == m.From && k.To == m.To }); i >= 0 {
			a.Moves[i].Calls += m.Calls
		} else {
			a.Moves = append(a.Moves, m)
		}
	}
	slices.SortStableFunc(a.Moves, func(x, y api.RulesMoves) int { return cmp.Compare(y.Calls, x.Calls) })
	a.Examples = append(a.Examples, b.Examples...)
	a.Examples = a.Examples[:min(len(a.Examples), mostExamples)]
	return a
}
