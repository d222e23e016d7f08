package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tandem/admin/api"
	"tandem/cmd/tandem/service"
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
  tandem top | doctor | debug    the whole on one screen, what is wrong with it, all of it in a file

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
		PersistentPreRunE: func(c *cobra.Command, _ []string) error { return errors.Join(belowZero(c), a.client.check()) },
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage("%w; see '%s --help'", wrongValue(err), c.CommandPath())
	})
	root.AddGroup(
		&cobra.Group{ID: "run", Title: "Run:"},
		&cobra.Group{ID: "look", Title: "Look:"},
		&cobra.Group{ID: "change", Title: "Change:"},
		&cobra.Group{ID: "prepare", Title: "Prepare:"},
	)
	for group, verbs := range map[string][]*cobra.Command{
		"run": {a.startCommand(), service.Command(a.out, a.done), a.devCommand(), a.simCommand(), a.shadowCommand()},
		"look": {
			a.statusCommand(), a.nodesCommand(), a.partitionsCommand(), a.callsCommand(), a.regionsCommand(),
			explainVerbs{a}.explainCommand(), a.eventsCommand(), logVerbs{a}.logCommand(), lookouts{a}.topCommand(), lookouts{a}.doctorCommand(), lookouts{a}.debugCommand(), lookouts{a}.mcpCommand(), captures{a}.captureCommand(), captures{a}.replayCommand(), ledgerVerbs{a}.command(),
		},
		"change": {
			a.foundCommand(), a.joinCommand(), a.leaveCommand(), a.removeCommand(), a.drainCommand(), a.undrainCommand(),
			a.regionCommand(), upgrades{a}.upgradeCommand(), a.moveCommand(), a.reloadCommand(), a.releaseCommand(), a.snapshotCommand(), a.raftCommand(), tokenVerbs{a}.tokensCommand(), rulesVerbs{a}.rulesCommand(), rolloutVerbs{a}.command(),
		},
		"prepare": {a.configCommand(), certificates{a}.tlsCommand(), a.keysCommand(), a.tokenCommand()},
	} {
		for _, v := range verbs {
			v.GroupID = group
			root.AddCommand(v)
		}
	}
	root.AddCommand(a.versionCommand(), lookouts{a}.manCommand())
	a.client.register(root)
	root.InitDefaultCompletionCmd()
	root.SetHelpCommand(helpCommand(root))
	refuseStrayWords(root)
	lookouts{a}.completes(root)
	return root
}

// refuseStrayWords makes words and missing flags that a command does not take an
// error of usage. A command that only holds others is one too when it is called
// with a word that none of them has; cobra would print help and exit 0.
func refuseStrayWords(c *cobra.Command) {
	for _, sub := range c.Commands() {
		refuseStrayWords(sub)
	}
	if c.Args == nil || c.Name() == "completion" { // which has cobra's own
		c.Args = noWords
	}
	inner := c.Args
	c.Args = func(c *cobra.Command, args []string) error {
		err := inner(c, args)
		if err == nil && slices.Contains(args, "") {
			err = errors.New("one of its words is empty")
		}
		if err == nil {
			err = c.ValidateRequiredFlags()
		}
		if err == nil {
			err = oneOf(c)
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

// oneOf refuses flags that exclude each other, or that one of must be there, in plain words.
func oneOf(c *cobra.Command) error {
	err := c.ValidateFlagGroups()
	if err == nil {
		return nil
	}
	_, names, _ := strings.Cut(err.Error(), "[")
	names, _, _ = strings.Cut(names, "]")
	only := "only "
	if strings.Contains(err.Error(), "at least one") {
		only = ""
	}
	return fmt.Errorf("write %sone of --%s", only, strings.Join(strings.Fields(names), ", --"))
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

// kinds say what a flag of each type takes.
var kinds = map[string]string{
	"int": "a whole number", "uint": "a whole number, 0 or more", "uint64": "a whole number, 0 or more", "float64": "a number",
	"duration": "a duration such as 30s, 10m or 2h", "bool": "true or false",
}

// wrongValue says what a flag takes, in place of what the parser thought of the value.
func wrongValue(err error) error {
	var bad *pflag.InvalidValueError
	if !errors.As(err, &bad) {
		return err
	}
	if want, ok := kinds[bad.GetFlag().Value.Type()]; ok {
		return fmt.Errorf("--%s is %.64q: write %s", bad.GetFlag().Name, bad.GetValue(), want)
	}
	return err
}

// belowZero refuses numbers and times below zero: no flag means anything by one.
func belowZero(c *cobra.Command) (err error) {
	c.Flags().Visit(func(f *pflag.Flag) {
		below := false
		switch f.Value.Type() {
		case "duration":
			d, _ := time.ParseDuration(f.Value.String()) // it was parsed
			below = d < 0
		case "int", "float64":
			n, _ := strconv.ParseFloat(f.Value.String(), 64) // it was parsed
			below = n < 0
		}
		if below && err == nil {
			err = usage("--%s is %s: it cannot be below zero; see '%s --help'", f.Name, f.Value, c.CommandPath())
		}
	})
	return err
}

// checkLimit bounds how many things a list shows.
func checkLimit(limit int) error {
	if limit < 1 || limit > api.MostCalls {
		return usage("--limit is %d: write a number from 1 to %d", limit, api.MostCalls)
	}
	return nil
}

// checkAddress says what the address of a node's cluster port looks like.
func checkAddress(s string) error {
	host, port, err := net.SplitHostPort(s)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || host == "" || strings.ContainsAny(host, " /@") {
		return usage("%.64q is no address of a node: write the host and port of its cluster port, such as 10.0.0.2:8471", s)
	}
	return nil
}

// helpCommand is cobra's, but for a word that it does not know: that is an error.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "tell how a command is used",
		Args:  cobra.ArbitraryArgs,
		ValidArgsFunction: func(_ *cobra.Command, args []string, begun string) (names []string, _ cobra.ShellCompDirective) {
			if c, _, err := root.Find(args); err == nil {
				for _, sub := range c.Commands() {
					if sub.IsAvailableCommand() && strings.HasPrefix(sub.Name(), begun) {
						names = append(names, sub.Name())
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			c, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usage("there is no command %q; see 'tandem --help'", strings.Join(args, " "))
			}
			c.InitDefaultHelpFlag()
			return c.Help()
		},
	}
}
