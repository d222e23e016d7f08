package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes of every command.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitUnavailable = 4
)

// app is what every verb shares: where it writes, and the flags of the client
// commands.
type app struct {
	out, err io.Writer
	environ  []string
	client   clientFlags
}

// exitError is an error that asks for its own exit code.
type exitError struct {
	code int
	error
}

func (e exitError) Unwrap() error { return e.error }

// run is the whole program but for the process: arguments in, exit code out.
func run(args []string, out, errw io.Writer) int {
	a := &app{out: out, err: errw, environ: os.Environ()}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errw)
	err := root.Execute()
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(errw, "tandem: "+err.Error())
	if e, ok := errors.AsType[exitError](err); ok {
		return e.code
	}
	return exitFailure
}

// usage wraps an error of the command line itself.
func usage(format string, args ...any) error {
	return exitError{exitUsage, fmt.Errorf(format, args...)}
}

const rootLong = `Tandem binds every Teams call to the one bot instance that answered it, and
brings each later notification to that instance, in every region.

  tandem dev                     two regions, six nodes, a simulated cloud, on this machine
  tandem start --config F        one real node
  tandem join 10.0.0.2:8471      let the node at that cluster address join this region
  tandem nodes | calls | explain what the ownership table holds, and why

The client commands talk to the admin door of any node: --addr or TANDEM_ADDR
(default http://127.0.0.1:8470), TANDEM_TOKEN, TANDEM_CACERT.

Exit codes: 0 done, 1 failure, 2 wrong usage, 3 not found, 4 nobody can answer now.`

// root builds the command tree; one file a verb.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:               "tandem",
		Short:             "a multi-region stateful call router for Teams calling bots",
		Long:              rootLong,
		SilenceErrors:     true,
		SilenceUsage:      true,
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.client.check() },
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage("%w; see '%s --help'", err, c.CommandPath())
	})
	root.AddGroup(
		&cobra.Group{ID: "run", Title: "Run:"},
		&cobra.Group{ID: "look", Title: "Look:"},
		&cobra.Group{ID: "change", Title: "Change:"},
		&cobra.Group{ID: "prepare", Title: "Prepare:"},
	)
	for group, verbs := range map[string][]*cobra.Command{
		"run": {a.startCommand(), a.devCommand(), a.simCommand()},
		"look": {
			a.statusCommand(), a.nodesCommand(), a.partitionsCommand(), a.callsCommand(), a.regionsCommand(),
			a.explainCommand(), a.eventsCommand(), ledgerVerbs{a}.command(),
		},
		"change": {
			a.foundCommand(), a.joinCommand(), a.leaveCommand(), a.removeCommand(), a.drainCommand(), a.undrainCommand(),
			a.regionCommand(), upgrades{a}.upgradeCommand(), a.moveCommand(), a.releaseCommand(), a.snapshotCommand(), a.raftCommand(), a.tokensCommand(), rulesVerbs{a}.rulesCommand(),
		},
		"prepare": {a.configCommand(), certificates{a}.tlsCommand(), a.keysCommand(), a.tokenCommand()},
	} {
		for _, v := range verbs {
			v.GroupID = group
			root.AddCommand(v)
		}
	}
	root.AddCommand(a.versionCommand())
	a.client.register(root)
	refuseStrayWords(root)
	return root
}

// refuseStrayWords makes words and missing flags that a command does not take an
// error of usage. A command that only holds others is one too when it is called
// with a word that none of them has; cobra would print help and exit 0.
func refuseStrayWords(c *cobra.Command) {
	for _, sub := range c.Commands() {
		refuseStrayWords(sub)
	}
	if c.Args == nil {
		c.Args = noWords
	}
	inner := c.Args
	c.Args = func(c *cobra.Command, args []string) error {
		err := inner(c, args)
		if err == nil {
			err = c.ValidateRequiredFlags()
		}
		if err != nil {
			return usage("%w; see '%s --help'", err, c.CommandPath())
		}
		return nil
	}
	if c.HasSubCommands() && c.RunE == nil && c.Run == nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			_ = c.Help()
			return exitError{exitUsage, fmt.Errorf("%s needs one of its verbs", c.CommandPath())}
		}
	}
}

// noWords takes no argument, and names the verbs that a mistyped one may mean.
func noWords(c *cobra.Command, args []string) error {
	err := cobra.NoArgs(c, args)
	if err == nil || !c.HasSubCommands() {
		return err
	}
	c.SuggestionsMinimumDistance = 2 // letters, as cobra itself has it
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("%w; did you mean %s?", err, strings.Join(near, " or "))
	}
	return err
}
