package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/cmd/tandem/assistant"
	"tandem/cmd/tandem/bundle"
	"tandem/cmd/tandem/doctor"
	"tandem/cmd/tandem/top"
)

// plainWidth is how wide a plain frame is that goes to no terminal.
const plainWidth = 140

// lookouts are the verbs that look at a whole deployment.
type lookouts struct{ *app }

func (a lookouts) topCommand() *cobra.Command {
	var (
		once  bool
		every time.Duration
	)
	c := &cobra.Command{
		Use:   "top",
		Short: "the deployment on one screen, as it goes: promises, regions, nodes, rates, live calls",
		Long: `Shows on one screen, anew every few seconds: which promises hold, the regions, the nodes
with their load and what each does in a second, and below them the live calls, the
partitions with their owners, or all promises with their reasons.

  tab, shift-tab  the next pane, the one before     space  pause
  up, down        scroll                            r      look now
  + -             look more often, less often       q      quit

What nodes do in a second is told by each node itself: by those whose admin door
(admin.url) can be reached from here; of the others it shows -.`,
		Example: `  tandem top
  tandem top --once | head -20        one plain frame, for a script or a report`,
	}
	c.RunE = a.asking(func(ctx context.Context, door *client.Client, _ []string) error {
		g := top.NewGatherer(door, a.dial)
		defer g.Close()
		if once || !terminal(a.out) {
			return top.Once(ctx, g, min(every, time.Second), cmp.Or(a.width(), plainWidth), a.out, a.environ)
		}
		return top.Run(ctx, g, every, c.InOrStdin(), a.out, a.environ)
	})
	c.Flags().BoolVar(&once, "once", false, "print one plain frame and end; so it does where the output is no terminal")
	c.Flags().DurationVar(&every, "every", 2*time.Second, "between two looks, at least 500ms")
	return c
}

// dial makes a client of another node's admin door, with the token and authority of the
// first one's.
func (a lookouts) dial(url string) (*client.Client, error) {
	return client.New(url, a.env("TANDEM_TOKEN"), cmp.Or(a.client.caFile, a.env("TANDEM_CACERT")))
}

func (a lookouts) doctorCommand() *cobra.Command {
	var (
		f                configFlags
		strict, noPublic bool
		publicCA         string
	)
	c := &cobra.Command{
		Use:   "doctor",
		Short: "what is wrong with the deployment, and what to do about it",
		Long: `Asks the admin doors of all nodes, and the public addresses as the cloud would, and says
what is wrong: doors, disks, clocks, readiness, promises, certificates, tokens and keys, peers,
versions, drift between nodes and regions, room, and whether the callback addresses are
reached from here. With --config it also checks that configuration with its files, and
how long the disk of its data directory takes; so run it on each node's machine.

It changes nothing, and needs a token with the role read. Exit code for monitoring:
0 nothing fails, 1 something fails (with --strict: or is warned of), 4 nobody answers.`,
		Example: `  tandem doctor
  tandem doctor --config /etc/tandem/tandem.yaml
  tandem doctor --strict --format json`,
	}
	c.RunE = a.asking(func(ctx context.Context, door *client.Client, _ []string) error {
		var found []doctor.Finding
		if f.file != "" || len(f.sets) > 0 {
			cfg, err := loadConfig(f.file, a.environ, f.sets)
			if err != nil {
				return err
			}
			found = doctor.Machine(cfg.Config, time.Now())
		}
		trust, err := trusting(publicCA)
		if err != nil {
			return err
		}
		seen, err := doctor.Examine(ctx, door, a.dial, doctor.NewPublic(trust))
		if err != nil {
			return err
		}
		if noPublic {
			seen.Public = nil
		}
		found = append(found, doctor.Judge(seen)...)
		if err := a.print(found, findingRows(found)); err != nil {
			return err
		}
		switch worst := doctor.Worst(found); {
		case worst == doctor.Fail:
			return errors.New("something fails: see the lines above")
		case strict && worst == doctor.Warn:
			return errors.New("something is warned of: see the lines above")
		}
		return nil
	})
	f.register(c)
	c.Flags().BoolVar(&strict, "strict", false, "exit with 1 on warnings, too")
	c.Flags().BoolVar(&noPublic, "no-public", false, "do not judge the public addresses: this machine is not where the cloud's requests come from")
	c.Flags().StringVar(&publicCA, "public-ca", "", "PEM file of the authority that the public doors are trusted by; empty: the system's")
	return c
}

func findingRows(found []doctor.Finding) [][]string {
	rows := [][]string{}
	for _, f := range found {
		text := f.Text
		if f.Where != "all" {
			text = f.Where + ": " + text
		}
		rows = append(rows, []string{fmt.Sprintf("%-7s  %s", f.Level, f.Check), text})
		if f.Do != "" {
			rows = append(rows, []string{"", "-> " + f.Do})
		}
	}
	return rows
}

// trusting reads the authorities to trust; empty: the system's.
func trusting(file string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if file == "" {
		return c, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the authority: %w", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading the authority: %s holds no certificate in PEM", file)
	}
	return c, nil
}

func (a lookouts) debugCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "debug",
		Short: "gather what is needed to see what is wrong, from all nodes, in one file without secrets",
		Long: `Asks every node that can be reached for its status, checks, promises, configuration, nodes,
partitions, raft group, regions, rules, versions of bots, audit log, events, the end of its
log, metrics and goroutines, and writes all of it into one archive (tar.gz, readable by its
owner only). What looks like a secret is taken out on the way, so it can be sent to others;
call ids, node names and addresses stay. manifest.json says what is in it, and what could not
be had and why.

Configuration, audit log, log and goroutines need a token with the role operate.`,
		Example: `  tandem debug
  tandem debug --out /tmp/case-4711.tar.gz`,
		RunE: a.asking(func(ctx context.Context, door *client.Client, _ []string) (err error) {
			now := time.Now()
			name := cmp.Or(file, "tandem-debug-"+now.UTC().Format("20060102T150405Z")+".tar.gz")
			out, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err != nil {
				return fmt.Errorf("making the bundle: %w", err)
			}
			m, err := bundle.Write(ctx, door, a.dial, softwareVersion(), now, out)
			if err = errors.Join(err, out.Close()); err != nil {
				return errors.Join(err, os.Remove(name))
			}
			for _, text := range m.Missing {
				a.done("missing %s", text)
			}
			a.done("%s holds %d files", name, len(m.Files))
			return nil
		}),
	}
	c.Flags().StringVarP(&file, "out", "o", "", "the file to make; it must not exist")
	return c
}

func (a lookouts) mcpCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "mcp",
		Short: "let an assistant read this deployment, over the Model Context Protocol",
		Long: `Serves tools to an assistant that speaks the Model Context Protocol, on standard input and
output: status, doctor, regions, nodes, partitions, events, rules, search of calls, why a
call is where it is, where a notification would go, and what other rules, or the loss of
a node or a region, would bring. None of them changes anything. Give it a token with the
role read: then the door itself refuses all else.

What it answers holds call ids, tenants and threads: it goes to wherever the assistant is.`,
		Example: `  tandem tokens new assistant --role read --for 720h
  {"mcpServers": {"tandem": {"command": "tandem", "args": ["mcp"],
    "env": {"TANDEM_ADDR": "https://emea-1.admin:8470", "TANDEM_TOKEN": "..."}}}}      in the assistant's configuration`,
	}
	c.RunE = a.asking(func(ctx context.Context, door *client.Client, _ []string) error {
		if who, err := door.Whoami(ctx); err == nil && !onlyReads(who) {
			a.done("the token may do more than read: make one for the assistant with 'tandem tokens new assistant --role read'")
		}
		examine := func(ctx context.Context) (any, error) {
			seen, err := doctor.Examine(ctx, door, a.dial, doctor.NewPublic(&tls.Config{MinVersion: tls.VersionTLS12}))
			return doctor.Judge(seen), err
		}
		return assistant.Serve(ctx, door, door.Rules(), examine, softwareVersion(), io.NopCloser(c.InOrStdin()), kept{a.out})
	})
	return c
}

func onlyReads(who api.Whoami) bool {
	return len(who.Roles) == 1 && who.Roles[0] == api.RoleRead
}

// kept is an output that is not closed by whoever writes to it.
type kept struct{ io.Writer }

func (kept) Close() error { return nil }
