package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tandem/admin/api"
)

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
