package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/admin/client"
	"tandem/ledger"
	"tandem/ownership"
)

// ledgerVerbs are the commands about the region's ledger.
type ledgerVerbs struct{ *app }

func (a ledgerVerbs) command() *cobra.Command {
	c := &cobra.Command{
		Use:   "ledger",
		Short: "what became of calls, and who changed what: listed, exported, verified",
		Long: `The region's ledger has an entry for each call that ended, was lost, came late, was
rejected or orphaned, and for each change that an operator asked for: the same on every
node, in its snapshots, for as many days as the region agreed on. A Merkle tree is over
it, and the region signs its head: a changed or missing entry is found.`,
		Example: `  tandem ledger list --kind lost --since 24h
  tandem ledger export -o ledger.jsonl && tandem ledger verify ledger.jsonl
  tandem ledger reconcile --since 24h`,
	}
	c.AddCommand(a.list(), a.export(), a.verify(), a.prove(), a.head(), a.reconcile(), a.keep())
	return c
}

// chooser are the flags that choose entries.
type chooser struct{ kind, tenant, call, thread, since, until string }

func (f *chooser) register(c *cobra.Command) {
	c.Flags().StringVar(&f.kind, "kind", "", "only change, ended, lost, late, rejected, orphaned or deleted")
	c.Flags().StringVar(&f.tenant, "tenant", "", "only of that tenant")
	c.Flags().StringVar(&f.call, "call", "", "only of that call")
	c.Flags().StringVar(&f.thread, "thread", "", "only of that meeting's thread")
	c.Flags().StringVar(&f.since, "since", "", "only from then on: 24h, 7d, 2026-11-29 or 2026-11-29T08:00:00Z")
	c.Flags().StringVar(&f.until, "until", "", "only before then")
}

func (f *chooser) filter(now time.Time) (out ledger.Filter, err error) {
	out = ledger.Filter{Kind: ledger.Kind(f.kind), Tenant: f.tenant, Thread: f.thread}
	if f.kind != "" && !slices.Contains(ledger.Kinds, out.Kind) {
		return out, usage("--kind is %.20q: change, ended, lost, late, rejected, orphaned or deleted", f.kind)
	}
	if f.call != "" {
		if err := checkCallID(f.call); err != nil {
			return out, err
		}
		out.Call = f.call
	}
	if out.Since, err = moment("--since", f.since, now); err != nil {
		return out, err
	}
	out.Until, err = moment("--until", f.until, now)
	return out, err
}

// moment reads a time as people write it: how long ago, a day, or a moment.
func moment(flag, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.Add(-time.Duration(n) * 24 * time.Hour), nil
		}
	}
	if ago, err := time.ParseDuration(s); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.Parse(layout, s); err == nil {
			return at, nil
		}
	}
	return time.Time{}, usage("%s is %.40q: write how long ago (24h, 7d), a day (2026-11-29) or a moment (2026-11-29T08:00:00Z)", flag, s)
}

func (a ledgerVerbs) list() *cobra.Command {
	var f chooser
	var limit int
	var newest bool
	c := &cobra.Command{
		Use:   "list",
		Short: "the entries, oldest first",
		Long: `Lists the entries that the flags choose, oldest first, or with --newest the other way round. Older ones than the region keeps
('tandem ledger keep') are deleted.`,
		Example: `  tandem ledger list --kind change --since 7d
  tandem ledger list --call 57dab8b1-894c-409a-b240-bd8beae78896`,
		RunE: a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
			chosen, err := f.filter(time.Now())
			if err != nil {
				return err
			}
			if limit < 1 {
				return usage("--limit is %d: 1 or more", limit)
			}
			all := []ledger.Entry{}
			for cursor := uint64(0); len(all) < limit; {
				page, err := c.Ledger(ctx, chosen, cursor, min(limit-len(all), 1000), newest)
				if err != nil {
					return err
				}
				all = append(all, page.Items...)
				if cursor = page.Next; !page.More {
					break
				}
			}
			rows := [][]string{{"N", "AT", "KIND", "CALL", "TENANT", "NODE", "BY", "WHAT"}}
			for _, e := range all {
				what := e.Reason
				if e.Kind == ledger.Change {
					what = strings.TrimSpace(fmt.Sprintf("%s %s -> %d %s", e.Action, e.Subject, e.Status, e.Reason))
				}
				rows = append(rows, []string{strconv.FormatUint(e.N, 10), e.At.Format(time.DateTime), string(e.Kind), dash(e.Call), dash(e.Tenant), dash(e.Node), dash(e.By), what})
			}
			return a.print(all, rows)
		}),
	}
	f.register(c)
	c.Flags().IntVar(&limit, "limit", 100, "how many entries at most")
	c.Flags().BoolVar(&newest, "newest", false, "the newest first")
	a.regionFlag(c, "of another region")
	return c
}

func (a ledgerVerbs) export() *cobra.Command {
	var f chooser
	var as, file string
	c := &cobra.Command{
		Use:   "export",
		Short: "the entries in JSON lines, which 'tandem ledger verify' checks, or as CSV",
		Long: `Writes the entries that the flags choose, to standard output or to a new file. In JSON
lines each entry is the line that the region has signed, what was deleted or left out is told by
its hash, and the last line is the signed head: the file can be checked by itself, at
any time, also when it holds a part only. CSV is for people.`,
		Example: `  tandem ledger export -o ledger.jsonl
  tandem ledger export --as csv --kind lost --since 30d -o lost.csv`,
		RunE: a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
			chosen, err := f.filter(time.Now())
			if err != nil {
				return err
			}
			if as != "jsonl" && as != "csv" {
				return usage("--as is %.20q: jsonl or csv", as)
			}
			if file == "" {
				return c.ExportLedger(ctx, a.out, chosen, as == "csv")
			}
			if err := makeNew(file, func(w io.Writer) error { return c.ExportLedger(ctx, w, chosen, as == "csv") }); err != nil {
				return err
			}
			a.done("exported to %s", file)
			return nil
		}),
	}
	f.register(c)
	c.Flags().StringVar(&as, "as", "jsonl", "jsonl or csv")
	c.Flags().StringVarP(&file, "output", "o", "", "a new file; else standard output")
	return c
}

func (a ledgerVerbs) head() *cobra.Command {
	c := &cobra.Command{
		Use:   "head",
		Short: "the signed head, and the key that checks it",
		Long: `Prints how much the ledger holds, signed by the region, and the keys that its heads may
be signed with: one for each handle key, the first one signs. Note the key, and give it
to 'tandem ledger verify' as --key: by its own word alone an export proves nothing.`,
		Example: "  tandem ledger head",
		RunE: a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
			h, err := c.LedgerHead(ctx)
			if err != nil {
				return err
			}
			rows := [][]string{{"entries", strconv.FormatUint(h.Size, 10)}, {"deleted by policy", strconv.FormatUint(h.Deleted, 10)}, {"kept", keepText(h.Keep)}}
			rows = append(rows, under("key", h.Keys)...)
			return a.print(h, append(rows, under("head", strings.Split(strings.TrimSpace(h.Head), "\n"))...))
		}),
	}
	a.regionFlag(c, "of another region")
	return c
}

func keepText(k ownership.Keep) string {
	switch {
	case !k.Valid():
		return "everything: nothing was agreed on yet"
	case k.EndedDays == 0:
		return fmt.Sprintf("%d days; calls that ended as calls do leave no entry", k.Days)
	}
	return fmt.Sprintf("%d days, calls that ended as calls do %d days", k.Days, k.EndedDays)
}

func (a ledgerVerbs) keep() *cobra.Command {
	ended := -1
	c := &cobra.Command{
		Use:   "keep [DAYS]",
		Short: "show or change how many days entries are kept",
		Long: `Shows how long the region keeps the entries of its ledger, or changes it. It is a fact of
the region: ledger.keep_days and ledger.keep_ended_days of the nodes' files count only
until the region has agreed on it for the first time. What is older is deleted, whole
days at a time, and the ledger says so; its hash stays, so all others can still be proved.

To change it, TANDEM_TOKEN must hold a token with the role operate where
admin.tokens_file is set.`,
		Example: `  tandem ledger keep
  tandem ledger keep 365 --ended 31`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.asking(func(ctx context.Context, c *client.Client, args []string) error {
			k, err := c.LedgerKeep(ctx)
			if err != nil {
				return err
			}
			if len(args) == 0 && ended < 0 {
				return a.print(k, [][]string{{"kept", keepText(k)}})
			}
			if len(args) > 0 {
				if k.Days, err = strconv.Atoi(args[0]); err != nil {
					return usage("%.20q is no number of days", args[0])
				}
			}
			if ended >= 0 {
				k.EndedDays = ended
			}
			if !k.Valid() {
				return usage("entries are kept for 1 to %d days, those of ended calls for 0 to %d", ownership.MaxKeepDays, ownership.MaxKeepDays)
			}
			if err := c.SetLedgerKeep(ctx, k); err != nil {
				return err
			}
			a.done("the ledger is kept for %s", keepText(k))
			return nil
		}),
	}
	c.Flags().IntVar(&ended, "ended", -1, "days for calls that ended as calls do; 0: they leave no entry")
	return c
}

// pipe gives what is written by one function to another that reads it.
func pipe(write func(io.Writer) error, read func(io.Reader) error) error {
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(write(w)) }() // of nil: the end; it never fails
	err := read(r)
	_ = r.Close() // ends the writer; it never fails
	return err
}
