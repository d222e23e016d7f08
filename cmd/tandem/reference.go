package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"tandem/admin/client"
	"tandem/ownership"
)

// manHeader is what each page says of itself.
func manHeader() *doc.GenManHeader {
	made := time.Unix(0, 0).UTC() // the same program writes the same pages
	return &doc.GenManHeader{Section: "1", Source: "Tandem " + softwareVersion(), Manual: "Tandem", Date: &made}
}

func (a lookouts) manCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "man [COMMAND]",
		Short: "print the manual page of a command, or write all of them into a directory",
		Example: `  tandem man calls | man -l -
  tandem man --dir /usr/local/share/man/man1`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			of, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usage("there is no command %q; see 'tandem --help'", strings.Join(args, " "))
			}
			every(c.Root(), func(c *cobra.Command) { c.DisableAutoGenTag = true })
			if dir == "" {
				return doc.GenMan(of, manHeader(), a.out)
			}
			if len(args) > 0 {
				return usage("--dir takes the pages of all commands: leave %s out", strings.Join(args, " "))
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("writing the manual: %w", err)
			}
			if err := doc.GenManTree(c.Root(), manHeader(), dir); err != nil {
				return fmt.Errorf("writing the manual: %w", err)
			}
			a.done("the pages of all commands are in %s", dir)
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "write the pages of all commands here")
	return c
}

// every walks a tree of commands.
func every(c *cobra.Command, do func(*cobra.Command)) {
	do(c)
	for _, sub := range c.Commands() {
		every(sub, do)
	}
}

// completeWithin bounds what the shell waits for.
const completeWithin = 1500 * time.Millisecond

// mostCompleted bounds what the shell shows.
const mostCompleted = 100

// completes gives the commands and flags that name a node, call, partition, region or
// state the words for it, from the door that would be asked.
func (a lookouts) completes(root *cobra.Command) {
	kinds := map[string]func(context.Context, *client.Client) ([]string, error){
		"NODE": func(ctx context.Context, c *client.Client) (names []string, err error) {
			nodes, err := c.Nodes(ctx)
			for _, n := range nodes {
				if n.State != ownership.NodeGone {
					names = append(names, string(n.ID)+"\t"+cmp.Or(n.Standing, n.State.String()))
				}
			}
			return names, err
		},
		"CALL": func(ctx context.Context, c *client.Client) (names []string, err error) {
			page, err := liveFirst{c}.calls(ctx, ownership.CallFilter{}, "", mostCompleted)
			for _, k := range page.Items {
				if k.State == ownership.CallEnded {
					break // only they follow
				}
				names = append(names, string(k.ID)+"\t"+k.State.String()+" "+string(k.Owner))
			}
			return names, err
		},
		"PARTITION": func(ctx context.Context, c *client.Client) (names []string, err error) {
			all, err := c.Partitions(ctx)
			for _, p := range all {
				if !p.Retired {
					names = append(names, p.ID.String()+"\t"+string(p.Owner))
				}
			}
			return names, err
		},
		"REGION": func(ctx context.Context, c *client.Client) (names []string, err error) {
			all, err := c.Regions(ctx)
			for _, r := range all {
				names = append(names, string(r.Name))
			}
			return names, err
		},
		"STATE": func(context.Context, *client.Client) (names []string, err error) {
			for _, s := range ownership.ByUrgency {
				names = append(names, s.String())
			}
			return names, nil
		},
		"FORMAT":      words("table", "json", "yaml"),
		"CONSISTENCY": words("local", "leader", "linearizable"),
	}
	kinds["NUMBER"] = kinds["PARTITION"]
	every(root, func(c *cobra.Command) {
		var wanted []string // by place
		for _, w := range strings.FieldsFunc(c.Use, func(r rune) bool { return strings.ContainsRune(" []|", r) })[1:] {
			if kinds[w] != nil && !(w == "NUMBER" && c.Name() != "partitions") {
				wanted = append(wanted, w)
			}
		}
		if len(wanted) > 0 && c.ValidArgsFunction == nil {
			c.ValidArgsFunction = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
				args = slices.DeleteFunc(slices.Clone(args), func(w string) bool { return w == "show" || w == "list" })
				if len(args) >= len(wanted) {
					return nil, cobra.ShellCompDirectiveNoFileComp
				}
				return a.complete(cmd, begun, kinds[wanted[len(args)]])
			}
		}
		for _, flag := range []string{"node", "partition", "region", "state", "format", "consistency"} {
			if c.LocalFlags().Lookup(flag) == nil {
				continue
			}
			_ = c.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) { // it has the flag
				return a.complete(cmd, begun, kinds[strings.ToUpper(flag)])
			})
		}
	})
}

func words(all ...string) func(context.Context, *client.Client) ([]string, error) {
	return func(context.Context, *client.Client) ([]string, error) { return all, nil }
}

// complete asks the door for words. A shell wants no errors: who does not answer has none.
func (a lookouts) complete(cmd *cobra.Command, begun string, ask func(context.Context, *client.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	var found []string
	ctx, cancel := context.WithTimeout(context.Background(), completeWithin)
	defer cancel()
	cmd.SetContext(ctx)
	_ = a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
		all, err := ask(ctx, c)
		for _, w := range all {
			if strings.HasPrefix(w, begun) && len(found) < mostCompleted {
				found = append(found, w)
			}
		}
		return err
	})(cmd, nil)
	return found, cobra.ShellCompDirectiveNoFileComp
}

// version is set by the linker for releases; else the module's own version or
// the commit stands in.
var version string

func softwareVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return "dev-" + s.Value[:12]
			}
		}
	}
	return "dev"
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "print the version of this program",
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version  string `json:"version"`
				Go       string `json:"go"`
				Platform string `json:"platform"`
			}{softwareVersion(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			return a.print(v, [][]string{{fmt.Sprintf("tandem %s %s %s", v.Version, v.Go, v.Platform)}})
		},
	}
}
