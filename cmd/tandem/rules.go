package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/ownership"
)

// maxRules is the longest document that is read, in bytes.
const maxRules = ownership.MaxRulesText + 1<<10 // with the line of 'rules get'

// expectLine begins the line in which 'rules get' notes what the document was made from.
const expectLine = "# made from rules "

// rulesVerbs are the verbs about the rules that travel.
type rulesVerbs struct{ *app }

func (a rulesVerbs) rulesCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "rules",
		Short: "the rules by which regions share the calls: read, try, set, take back",
		Long: `The rules say which region a new call belongs to, and the pins which nodes. They are
one document in YAML or JSON, which the regions hold in common: set at any node of
any region, it counts everywhere within seconds. Until a first one is set, each node
goes by rules, tables and pins of its own configuration; afterwards it never does.

  rules:                                   # the first that matches counts
    - {when: 'call.tenant == "8986d25d-…"', region: emea, residency: hard}
    - {when: 'call.botData.mediaHostedRegion != ""', table: datacentres, by: call.botData.mediaHostedRegion}
    - {when: 'call.source.countryCode in ["US", "CA"]', region: amer, overflow: [emea]}
    - {when: 'call.thread != ""', spread: [emea, amer], by: call.thread, here: prefer}
  tables:
    datacentres: {USEA: amer, USWE: amer, EUNO: emea, EUWE: emea}
  pins:
    - {when: 'call.tenant == "6e1fc0e1-…"', version: "2.0"}

  residency: hard   no other region ever handles its calls: better none than elsewhere
  table, by         the region that the table has for a text of the call; no entry: no match
  spread, by        one region for all calls with one text, computed alike in all regions
  apart: [A, B]     with spread: the calls of these apps go to different regions
  overflow          who stands in, in this order, where the region is full or down
  here: prefer      where it arrives while there is room; force: always

Change them so, and nobody overwrites anybody:

  tandem rules get > rules.yaml
  $EDITOR rules.yaml
  tandem rules test rules.yaml < incoming.json
  tandem rules diff rules.yaml
  tandem rules set rules.yaml --note "canada moves"`,
	}
	c.AddCommand(a.get(), a.set(), a.test(), a.diff(), a.history(), a.rollback())
	return c
}

func (a rulesVerbs) get() *cobra.Command {
	return &cobra.Command{
		Use:   "get [NUMBER]",
		Short: "print the newest rules, or an earlier version, and who has them",
		Long: `Prints the document on standard output, with a first line that says which rules it
is, for 'tandem rules set' to know what it was made from; and on standard error who
set them, and which nodes and regions have others.`,
		Example: `  tandem rules get > rules.yaml
  tandem rules get 3 --format json`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
			if len(args) == 1 {
				n, err := rulesNumber(args[0])
				if err != nil {
					return err
				}
				v, err := c.Rules().Version(ctx, n)
				if err != nil {
					return err
				}
				return a.document(v, v)
			}
			now, err := c.Rules().Now(ctx)
			if err != nil {
				return err
			}
			if a.client.format == "table" {
				a.holders(now)
			}
			return a.document(now, now.RulesVersion)
		}),
	}
}

// document prints a version's text, or the whole answer as --format says.
func (a rulesVerbs) document(whole any, v api.RulesVersion) error {
	if a.client.format != "table" {
		return a.print(whole, nil)
	}
	text := strings.TrimSuffix(v.Text, "\n")
	if !strings.HasPrefix(strings.TrimSpace(text), "{") { // JSON knows no comment
		text = fmt.Sprintf("%s%d\n%s", expectLine, v.Number, text)
	}
	_, err := fmt.Fprintln(a.out, text)
	return err
}

// holders tells who set the rules and who has others.
func (a rulesVerbs) holders(now api.RulesNow) {
	if now.Number == 0 {
		a.done("none were set: these are the answering node's configuration's")
	} else {
		a.done("rules %d (%.8s), set by %s in %s %s%s", now.Number, now.Digest, dash(now.By), dash(string(now.Origin)), ago(now.At, time.Now()), colon(now.Note))
	}
	if now.Unused {
		a.done("the rules of the node's configuration are not used")
	}
	for what, all := range map[string][]api.RulesHolder{"node": now.Nodes, "region": now.Regions} {
		for _, h := range all {
			if !h.Same {
				a.done("%s %s has others: %s%s", what, h.Name, rulesOf(h), colon(h.Trouble))
			}
		}
	}
}

func rulesOf(h api.RulesHolder) string {
	if h.Number == 0 {
		return "none that were set"
	}
	return fmt.Sprintf("rules %d (%.8s)", h.Number, h.Digest)
}

func colon(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

func (a rulesVerbs) set() *cobra.Command {
	var note, expect string
	c := &cobra.Command{
		Use:   "set FILE",
		Short: "give all regions new rules",
		Long: `Checks the document and sets it; - reads standard input. A mistake is told with its
line, and nothing changes. The first line of 'tandem rules get' says which rules it was
made from; without that line say it with --expect (0: none were ever set). When there
are others by now, nothing changes: get them, and make your change in those.`,
		Example: `  tandem rules set rules.yaml --note "canada moves"
  tandem rules set rules.json --expect 7`,
		Args: cobra.ExactArgs(1),
		RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
			text, from, err := a.read(args[0])
			if err != nil {
				return err
			}
			if expect != "" {
				if from, err = strconv.ParseInt(expect, 10, 64); err != nil || from < 0 {
					return usage("--expect is %.20q: give the number of the rules that it was made from", expect)
				}
			}
			if from < 0 {
				return usage("%s does not say which rules it was made from: begin with 'tandem rules get', or give --expect NUMBER (0: none were ever set)", args[0])
			}
			v, err := c.Rules().Set(ctx, api.RulesAsk{Text: text, Expect: uint64(from), Note: note})
			return a.became(v, err)
		}),
	}
	c.Flags().StringVar(&note, "note", "", "why, for the history")
	c.Flags().StringVar(&expect, "expect", "", "number of the rules that it was made from, in place of its first line")
	return c
}

// became says what the newest rules are now.
func (a rulesVerbs) became(v api.RulesVersion, err error) error {
	if err != nil {
		return err
	}
	a.done("these are rules %d (%.8s); the other regions take them over within seconds", v.Number, v.Digest)
	if a.client.format == "table" {
		return nil
	}
	return a.print(v, nil)
}

// read reads a document, and what its first line says that it was made from; below 0:
// it does not.
func (a rulesVerbs) read(file string) (text string, from int64, err error) {
	b, err := readAll(file, maxRules)
	if err != nil {
		return "", -1, fmt.Errorf("reading the rules: %w", err)
	}
	text, from = string(b), -1
	if line, rest, _ := strings.Cut(text, "\n"); strings.HasPrefix(line, expectLine) {
		n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimPrefix(line, expectLine)), 10, 64)
		if err == nil && n >= 0 {
			text, from = rest, n
		}
	}
	return text, from, nil
}

// readAll reads a file, or standard input where it is -, up to a bound.
func readAll(file string, most int64) ([]byte, error) {
	b, err := readInput(file, most+1)
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s is longer than %d bytes", file, most)
	}
	return b, err
}

func (a rulesVerbs) test() *cobra.Command {
	var (
		ask     api.RulesTrial
		headers []string
	)
	c := &cobra.Command{
		Use:   "test [FILE]",
		Short: "ask the rules in FILE, or those in force, about a notification on standard input",
		Long: `Reads a webhook's body from standard input and says, for each call in it, what the
rules could see, which one matches, and where the call would be handled at this
moment. Nothing changes. A call's tenant may stand in its token only: say it with --tenant.`,
		Example: `  tandem rules test rules.yaml < incoming.json
  tandem rules test --tenant 8986d25d-ed3f-4bb8-b739-14d2fcc37b09 < incoming.json`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
			if len(args) == 1 {
				if args[0] == "-" {
					return usage("the notification comes on standard input: name a file with the rules")
				}
				text, _, err := a.read(args[0])
				if err != nil {
					return err
				}
				ask.Text = text
			}
			body, err := readAll("-", 1<<20)
			if err != nil {
				return fmt.Errorf("reading the notification: %w", err)
			}
			header, err := readHeaders(headers)
			if err != nil {
				return err
			}
			ask.Notification, ask.Header = string(body), map[string]string{}
			for name := range header {
				ask.Header[name] = header.Get(name)
			}
			return printing(a.app, triedRows)(c.Rules().Test(ctx, ask))
		}),
	}
	c.Flags().StringVar((*string)(&ask.Tenant), "tenant", "", "the tenant that its token would name")
	c.Flags().StringVar((*string)(&ask.App), "app", "", "the app that its token would name; empty: the one that the body or the configuration leaves")
	c.Flags().StringArrayVar(&headers, "header", nil, "a header that it would carry; may be repeated")
	return c
}

func triedRows(tried api.RulesTried) [][]string {
	rows := [][]string{{"answer", tried.Answer}}
	for _, k := range tried.Calls {
		rows = append(rows, []string{"call", fmt.Sprintf("%s  %s", k.Call, k.Kind)}, []string{"why", k.Why})
		if k.Step != "" {
			rule := "none"
			if k.Rule > 0 {
				rule = strconv.Itoa(k.Rule)
			}
			home := string(k.Home)
			if k.Hard {
				home += " (hard)"
			}
			rows = append(rows, []string{"rule", rule}, []string{"home", home}, []string{"now", k.Step + "  " + string(k.To)})
		}
		if k.Pin != nil {
			rows = append(rows, []string{"pin", strings.TrimSpace(fmt.Sprintf("%s %s %s", k.Pin.Node, k.Pin.Zone, k.Pin.Version))})
		}
		rows = append(rows, under("error", k.Errors)...)
	}
	return rows
}
