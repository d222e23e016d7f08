package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/ownership"
)

// defaultAddr is where a node's admin door listens unless it is told otherwise.
const defaultAddr = "http://127.0.0.1:8470"

// clientFlags are the flags of every command that asks a running node.
type clientFlags struct {
	addr, caFile, format, consistency string

	region ownership.Region // of the commands that have such a flag
}

// register makes the flags known to every command: those that ask no node do
// not read them.
func (f *clientFlags) register(root *cobra.Command) {
	p := root.PersistentFlags()
	p.StringVar(&f.addr, "addr", "", "admin door to ask (TANDEM_ADDR; default "+defaultAddr+")")
	p.StringVar(&f.caFile, "cacert", "", "PEM file of the authority to trust (TANDEM_CACERT)")
	p.StringVar(&f.format, "format", "table", "how reading commands print: table, json or yaml")
	p.StringVar(&f.consistency, "consistency", "", "how fresh a read must be: local, leader or linearizable")
}

// check says which flag holds a word that it does not know.
func (f *clientFlags) check() error {
	if !slices.Contains([]string{"table", "json", "yaml"}, f.format) {
		return usage("--format is %q: table, json or yaml", f.format)
	}
	if !slices.Contains([]string{"", api.Local, api.Leader, api.Linearizable}, f.consistency) {
		return usage("--consistency is %q: local, leader or linearizable", f.consistency)
	}
	return nil
}

func (a *app) env(name string) string {
	for _, kv := range a.environ {
		if k, v, ok := strings.Cut(kv, "="); ok && k == name {
			return v
		}
	}
	return ""
}

// asking runs one request against the admin door, and turns the door's refusals
// into exit codes.
func (a *app) asking(do func(context.Context, *client.Client, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := client.New(cmp.Or(a.client.addr, a.env("TANDEM_ADDR"), defaultAddr), a.env("TANDEM_TOKEN"), cmp.Or(a.client.caFile, a.env("TANDEM_CACERT")))
		if err != nil {
			return usage("%w", err)
		}
		defer c.Close()
		c.Consistency, c.Region = a.client.consistency, a.client.region
		c.Gathered = a.missing
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return asExit(do(ctx, c, args))
	}
}

// regionFlag lets a command ask for another region.
func (a *app) regionFlag(c *cobra.Command, what string) {
	c.Flags().StringVar((*string)(&a.client.region), "region", "", what)
}

// missing says on stderr which regions are not in an answer.
func (a *app) missing(g api.Gathered) {
	for _, p := range g.Parts {
		if p.Partial {
			a.done("region %s is missing: %s", p.Region, p.Error)
		}
	}
}

// asExit gives an error of the admin door its exit code.
func asExit(err error) error {
	var p *client.Problem
	switch {
	case err == nil:
		return nil
	case client.NotFound(err):
		return exitError{exitNotFound, err}
	case errors.As(err, &p) && p.Stranger:
		return err
	case errors.As(err, &p) && p.Status == 0:
		return exitError{exitUnavailable, fmt.Errorf("%w; is a node running there? name its admin door with --addr or TANDEM_ADDR", err)}
	case client.Unavailable(err):
		return exitError{exitUnavailable, err}
	case errors.As(err, &p) && p.Status == 401:
		return exitError{exitFailure, fmt.Errorf("%w; put a token of the admin door into TANDEM_TOKEN", err)}
	}
	return err
}

// listing is asking for the commands that list things or show one of them. The
// words list and show may be left out, so that one alone is a name.
func (a *app) listing(do func(ctx context.Context, c *client.Client, name string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		name := ""
		switch {
		case len(args) == 0, len(args) == 1 && args[0] == "list":
		case len(args) == 1 && args[0] != "show":
			name = args[0]
		case len(args) == 2 && args[0] == "show":
			name = args[1]
		default:
			return usage("write list, or show and one name; see '%s --help'", cmd.CommandPath())
		}
		return a.asking(func(ctx context.Context, c *client.Client, _ []string) error { return do(ctx, c, name) })(cmd, args)
	}
}

// insistPause lies between two attempts of a request that waits.
const insistPause = time.Second

// insist asks until it is done, refused for good, or the wait is over; each failure in
// between is told.
func insist(ctx context.Context, wait time.Duration, ask func() error, tell func(error)) error {
	until := time.Now().Add(wait)
	for {
		err := ask()
		if err == nil || !client.Unavailable(err) || time.Now().After(until) {
			return err
		}
		tell(err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(insistPause):
		}
	}
}

// done says on stderr what was done: stdout is for what was asked.
func (a *app) done(format string, args ...any) {
	fmt.Fprintf(a.err, format+"\n", args...)
}

// checkCallID says what is wrong with a call id as a user pasted it.
func checkCallID(s string) error {
	if _, err := ownership.ParseCallID(s); err != nil {
		return usage("%w", err)
	}
	return nil
}

// readInput reads a file, or standard input where it is "-", up to a limit.
func readInput(file string, most int64) ([]byte, error) {
	in, err := openInput(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return io.ReadAll(io.LimitReader(in, most))
}

// openInput opens a file, or standard input where it is "-".
func openInput(file string) (io.ReadCloser, error) {
	if file == "-" {
		return io.NopCloser(os.Stdin), nil
	}
	return os.Open(file)
}

// makeNew writes a file that must not exist yet and that only its owner may read; a part of it
// does not stay.
func makeNew(file string, write func(io.Writer) error) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err = errors.Join(write(f), f.Close()); err != nil {
		return errors.Join(err, os.Remove(file))
	}
	return nil
}

// writeNew is makeNew for a text.
func writeNew(file string, text []byte) error {
	return makeNew(file, func(w io.Writer) error { _, err := w.Write(text); return err })
}
