package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"tandem/graphsim"
)

// devFlags are the knobs of the demonstration.
type devFlags struct {
	duration time.Duration
	rate     float64
	nodes    int
	report   string
	dir      string
	seed     uint64
	kind     bool
	quiet    bool
	bot      foreignBot
	answer   string // who answers: bot or router; empty: by whose bot it is
	bad      string // a version that one bot gets, and that ends every call; empty: none
}

const devLong = `Starts two regions (emea, amer) of three real nodes each, a simulated Graph
calling cloud and a sample bot beside every node: all in one process, on
loopback, with temporary data. The first node's admin door is at 127.0.0.1:8470, where all
other commands look; ports that are taken are replaced by free ones. The cloud is unkind: it posts to the wrong region
and the wrong node, sends things twice, late and out of order, and changes its
keys in the middle. What it saw is printed at the end.

With --bot your own bot takes the place of the sample one, beside every node: the
cloud posts to it over a door that watches, and the report tells what the bot was
handed, took, refused and replied too late, and what to do about it. What is the
bot's fault is told as such. The app then has answer: bot, so the bot replies
{"answer":{…}} or answers itself at Graph; with --answer router the nodes answer
and tell the bot. docs/bots.md has the contract.

With --bad-version one bot of emea is upgraded after some seconds to a version that ends
every call that it gets: see it halted ('tandem rollouts list', docs/rollouts.md).

Without --duration it goes on until Ctrl-C. The exit code is 1 if a notification
was lost, reached a node that does not own its call or was handled twice, if a
call was answered too late, or if your bot failed; 4 if nobody listens at --bot.`

func (a *app) devCommand() *cobra.Command {
	var f devFlags
	c := &cobra.Command{
		Use:   "dev",
		Short: "run two regions with a simulated cloud on this machine",
		Long:  devLong,
		Example: `  tandem dev
  tandem dev --duration 20s --rate 50 --report r.json
  tandem dev --bot http://127.0.0.1:9442/ --health http://127.0.0.1:9442/health --duration 20s`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.dev(cmd.Context(), f)
		},
	}
	c.Flags().DurationVar(&f.duration, "duration", 0, "end by itself after so long; 0: at Ctrl-C")
	c.Flags().Float64Var(&f.rate, "rate", 5, "new calls a second")
	c.Flags().IntVar(&f.nodes, "nodes", 3, "nodes in each region")
	c.Flags().StringVar(&f.report, "report", "", "write what the cloud saw to this file, as JSON")
	c.Flags().StringVar(&f.dir, "dir", "", "keep the nodes' data here; empty: a temporary directory")
	c.Flags().Uint64Var(&f.seed, "seed", 0, "of the cloud's choices; 0: by the clock")
	c.Flags().BoolVar(&f.kind, "kind", false, "a cloud without duplicates, delays and failures")
	c.Flags().BoolVar(&f.quiet, "quiet", false, "no live view")
	c.Flags().StringVar(&f.bad, "bad-version", "", "a version of the sample bot that ends every call, and that one node's bot gets; empty: none")
	f.bot.flags(c.Flags())
	c.Flags().StringVar(&f.answer, "answer", "", "the app's answer setting: router or bot; empty: bot with --bot, else router")
	return c
}

// dev runs the demonstration and gives an error if a promise was broken.
func (a *app) dev(ctx context.Context, f devFlags) error {
	if f.rate <= 0 || f.nodes < 1 || f.nodes > 5 {
		return usage("--rate must be above 0 and --nodes 1 to 5")
	}
	if f.answer == "" {
		f.answer = "router"
		if f.bot.url != "" {
			f.answer = "bot"
		}
	}
	if f.answer != "router" && f.answer != "bot" {
		return usage("--answer is %q: router or bot", f.answer)
	}
	if f.bad != "" && (f.bot.url != "" || f.nodes < 2) {
		return usage("--bad-version is about the sample bots of two nodes or more: leave out --bot and --nodes 1")
	}
	if err := f.bot.check(ctx); err != nil {
		return err
	}
	interrupted, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	begun := time.Now()
	s, err := startStage(ctx, f, a.err)
	if err != nil {
		return fmt.Errorf("starting the demonstration: %w", err)
	}
	defer s.stop()
	s.introduce(a.out, time.Since(begun))
	watching, stopWatching := context.WithCancel(ctx)
	var viewing sync.WaitGroup
	viewing.Go(func() { (&view{a.out, s, f.quiet}).run(watching) })
	if f.bad != "" {
		viewing.Go(func() { s.upgradeOne(watching, f.bad, a.out) })
	}
	err = a.runCalls(interrupted, s.cloud, graphsim.Load{Rate: f.rate, Duration: f.duration})
	stopWatching()
	viewing.Wait()
	if err != nil {
		return err
	}
	return a.judge(s.cloud.Report(), f.report)
}

// endless is the duration of a run that Ctrl-C ends.
const endless = 365 * 24 * time.Hour

// runCalls has the cloud make calls until the load's time is up or ctx ends, and
// waits for their ends.
func (a *app) runCalls(ctx context.Context, cloud *graphsim.Cloud, load graphsim.Load) error {
	load.Duration = cmp.Or(load.Duration, endless)
	if err := cloud.Run(ctx, load); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("running calls: %w", err)
	}
	settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := cloud.Settle(settle); err != nil {
		a.done("some calls had not ended: %v", err)
	}
	return nil
}

// judge prints the report, writes it, and gives the verdict.
func (a *app) judge(r graphsim.Report, file string) error {
	if file != "" {
		if err := writeJSON(file, r); err != nil {
			return err
		}
	}
	printReport(a.out, r)
	return a.verdict(r)
}

// writeJSON writes a report to a file.
func writeJSON(file string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// verdict makes a broken promise an error.
func (a *app) verdict(r graphsim.Report) error {
	switch {
	case r.Calls == 0:
		return errors.New("no call was made, so nothing was shown")
	case !r.OK():
		return errors.New("the cloud saw a broken promise; the sentences above say which")
	case r.Bot != nil && !r.Bot.OK():
		return errors.New("your bot failed, Tandem did not; the sentences above say what to do")
	}
	return nil
}
