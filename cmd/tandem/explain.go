package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"tandem/admin/client"
	"tandem/ownership"
)

// maxExplained is the largest notification that explain reads.
const maxExplained = 4 << 20

// explainVerbs say why.
type explainVerbs struct{ *app }

func (a explainVerbs) explainCommand() *cobra.Command {
	var (
		file    string
		ask     ownership.Supposed
		headers []string
	)
	c := &cobra.Command{
		Use:   "explain [CALL | NOTIFICATION]",
		Short: "why a call is where it is, where a notification went, or would go",
		Long: `With a call: the reason and the candidates of its placement, as they were at its
claim, who owns it now, and step by step what the nodes of all regions did with its
notifications: received, redirected, relayed, handed to the bot, answered at Graph.
The call's chain (callChainId), one notification's X-Microsoft-Skype-Message-ID, and
what Scenario-Id or Client-Request-Id said, name it as well. Nodes keep the newest
steps in memory, so old ones are gone.

With --notification: runs a webhook body through the same functions as the
public door and prints what it would answer, and why. Nothing changes and nobody
is told. A new call's tenant may stand in the token only: give that with --header
or say with --tenant what it would tell.`,
		Example: `  tandem explain 57dab8b1-894c-409a-b240-bd8beae78896
  tandem explain 9c1b2c1e-0f5f-4a3c-8f5e-8f0f4a1d2b3c   by a notification's id
  tandem explain --notification incoming.json
  tandem explain --notification - --header 'X-Microsoft-Skype-Caller-Region: amer' < body.json`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
			switch {
			case len(args) == 1 && file == "":
				return a.explainCall(ctx, c, args[0])
			case len(args) == 0 && file != "":
				return a.explainNotification(ctx, c, file, ask, headers)
			}
			return usage("explain takes a call, or --notification FILE; see 'tandem explain --help'")
		}),
	}
	c.Flags().StringVar(&file, "notification", "", "a file with the body of a webhook; - reads standard input")
	c.Flags().StringVar(&ask.Target, "target", "", "path and query it would be posted to; empty: the webhook's path")
	c.Flags().StringVar((*string)(&ask.Tenant), "tenant", "", "the tenant that its token would name")
	c.Flags().StringVar((*string)(&ask.App), "app", "", "the app that its token would name; empty: the one that the body or the configuration leaves")
	c.Flags().StringArrayVar(&headers, "header", nil, "a header that it would carry; may be repeated")
	return c
}

func (a explainVerbs) explainCall(ctx context.Context, c *client.Client, id string) error {
	if err := checkName(id); err != nil {
		return err
	}
	x, err := c.ExplainCall(ctx, id)
	if err != nil {
		return err
	}
	rows := append(callOrNone(x.Call, x.State), under("why", x.Why)...)
	for _, k := range x.Placement.Candidates {
		rows = append(rows, []string{"candidate", fmt.Sprintf("%s  score %.3f  %s", k.Node, k.Score, cmp.Or(k.Rejected, "could take it"))})
	}
	return a.print(x, append(rows, story(x.Timeline, x.Trail)...))
}

func (a explainVerbs) explainNotification(ctx context.Context, c *client.Client, file string, ask ownership.Supposed, headers []string) (err error) {
	if ask.Body, err = readInput(file, maxExplained); err != nil {
		return fmt.Errorf("reading the notification: %w", err)
	}
	if ask.Header, err = readHeaders(headers); err != nil {
		return err
	}
	x, err := c.Explain(ctx, ask)
	if err != nil {
		return err
	}
	rows := [][]string{{"answer", answerOf(x.Status)}, {"verdict", x.Verdict}}
	if x.Location != "" {
		rows = append(rows, []string{"location", x.Location})
	}
	for _, s := range x.Steps {
		rows = append(rows, []string{s.Name, s.Text})
	}
	for _, k := range x.Calls {
		rows = append(rows, []string{"call", fmt.Sprintf("%s  %s  %s: %s", k.Call, k.Kind, k.Route, k.Why)})
		if k.Placement == nil {
			continue
		}
		for _, n := range k.Placement.Candidates {
			rows = append(rows, []string{"candidate", fmt.Sprintf("%s  score %.3f  %s", n.Node, n.Score, n.Rejected)})
		}
	}
	return a.print(x, rows)
}

// answerOf names a status; a call that is handed over gets its bot's.
func answerOf(status int) string {
	if status == 0 {
		return "the bot's own"
	}
	return fmt.Sprintf("%d %s", status, http.StatusText(status))
}

// readHeaders reads lines of "Name: value".
func readHeaders(lines []string) (http.Header, error) {
	h := http.Header{}
	for _, l := range lines {
		name, value, ok := strings.Cut(l, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || name == "" || strings.ContainsAny(name+value, "\r\n\x00") {
			return nil, usage("--header %q: write Name: value", l)
		}
		h.Add(name, value)
	}
	return h, nil
}
