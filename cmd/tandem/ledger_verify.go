package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/ledger"
	"tandem/ownership"
)

func (a ledgerVerbs) verify() *cobra.Command {
	var keys []string
	var kept string
	c := &cobra.Command{
		Use:   "verify [FILE]",
		Short: "find any changed or missing entry of the ledger, or of an export",
		Long: `Reads an export in JSON lines (- is standard input), or the ledger of the node that is asked, computes the
tree anew, and compares it with the signed head. Any changed byte is found, and any entry that is
missing; those that were deleted by policy are told apart from them, as the ledger itself
says how many they were.

--key names the region's key, as 'tandem ledger head' printed it to you when you trusted
the region; without one the export's own word is taken. --head FILE keeps the head there:
the next time the ledger must begin with the same entries, whoever has signed it.

Exit code 0: every entry is as it was written. 1: not.`,
		Example: `  tandem ledger verify --head emea.head
  tandem ledger verify ledger.jsonl --key "$KEY"`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			known := ledger.Known{Keys: keys}
			var err error
			if known.Before, err = keptHead(kept); err != nil {
				return err
			}
			if len(args) == 0 {
				return a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
					return pipe(
						func(w io.Writer) error { return c.ExportLedger(ctx, w, ledger.Filter{}, false) },
						func(r io.Reader) error { return a.verified(r, known, kept) })
				})(cmd, nil)
			}
			in, err := openInput(args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			return a.verified(in, known, kept)
		},
	}
	c.Flags().StringArrayVar(&keys, "key", nil, "a key of the region; may be given several times")
	c.Flags().StringVar(&kept, "head", "", "file that keeps the head for the next time")
	return c
}

// verified checks an export and says what it found.
func (a ledgerVerbs) verified(in io.Reader, known ledger.Known, keep string) error {
	r, err := ledger.Verify(in, known)
	if err != nil {
		return err
	}
	rows := [][]string{
		{"ledger", dash(r.Name)}, {"entries", fmt.Sprintf("%d of %d", r.Entries, r.Size)}, {"deleted by policy", strconv.FormatUint(r.Deleted, 10)},
	}
	if r.LeftOut > 0 {
		rows = append(rows, []string{"left out", fmt.Sprintf("%d, of this export; with those that were deleted among them", r.LeftOut)})
	}
	if known.Before != nil {
		rows = append(rows, []string{"begins as kept", yes(r.Begins)})
	}
	if !r.Head.At.IsZero() {
		rows = append(rows, []string{"signed", r.Head.At.Format(time.RFC3339)}, []string{"key", r.Key})
	}
	if err := a.print(r, append(rows, under("problem", r.Problems)...)); err != nil {
		return err
	}
	if len(r.Problems) > 0 {
		return errors.New("the ledger is not as it was written")
	}
	if !r.Pinned {
		a.done("the key is the ledger's own word: name the one that you know with --key")
	}
	if keep == "" {
		return nil
	}
	return os.WriteFile(keep, append(ledger.Line(r.Signed), '\n'), 0o600)
}

// keptHead reads the head that was kept; nil: none was yet.
func keptHead(file string) (*ledger.Head, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	h, err := ledger.ReadEnd(text)
	if err != nil {
		return nil, fmt.Errorf("reading %s, which is to hold a head that 'tandem ledger verify' has kept: %w", file, err)
	}
	return &h, nil
}

func (a ledgerVerbs) prove() *cobra.Command {
	var keys []string
	var check string
	c := &cobra.Command{
		Use:   "prove [N]",
		Short: "the proof that one entry is in the ledger, or the check of such a proof",
		Long: `Prints the proof of entry N, at most 2 KB of JSON: the entry's line, the signed head, and the
hashes that lead from the one to the other. It can be given to whoever knows the region's
key, and checked with --check, offline.`,
		Example: `  tandem ledger prove 4711 > proof.json
  tandem ledger prove --check proof.json --key "$KEY"`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case check != "" && len(args) == 0:
				return a.checkProof(check, keys)
			case check != "" || len(args) == 0:
				return usage("write the number of an entry, or --check and a file")
			}
			n, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil {
				return usage("%.20q is no number of an entry: see 'tandem ledger list'", args[0])
			}
			return a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
				p, err := c.ProveLedger(ctx, n)
				if err != nil {
					return err
				}
				text, err := json.Marshal(p)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.out, "%s\n", text)
				return err
			})(cmd, nil)
		},
	}
	c.Flags().StringVar(&check, "check", "", "check the proof in this file instead")
	c.Flags().StringArrayVar(&keys, "key", nil, "a key of the region, for --check")
	return c
}

// maxProof bounds the file of a proof, in bytes.
const maxProof = 64 << 10

func (a ledgerVerbs) checkProof(file string, keys []string) error {
	if len(keys) == 0 {
		return usage("--check needs --key: a proof proves nothing to who does not know the region's key ('tandem ledger head')")
	}
	text, err := readInput(file, maxProof)
	if err != nil {
		return err
	}
	var p ledger.Proof
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("reading %s: it is no proof: %w", file, err)
	}
	e, h, err := p.Check(keys...)
	if err != nil {
		return err
	}
	return a.print(e, [][]string{
		{"entry", string(p.Entry)}, {"ledger", h.Name}, {"entries", strconv.FormatUint(h.Size, 10)}, {"signed", h.At.Format(time.RFC3339)},
	})
}

func (a ledgerVerbs) reconcile() *cobra.Command {
	var since, until, appID, participant string
	c := &cobra.Command{
		Use:   "reconcile",
		Short: "calls that the cloud has records of and the ledger has not",
		Long: `Asks Graph for the records of calls that started in that time (communications/callRecords, with an app's
credentials and the permission CallRecords.Read.All), and lists those that neither the ledger nor
the table knows: by the call chain, or by the meeting's thread. A record appears some
time after its call has ended, and stays for 30 days. It is one of a whole tenant: --participant
chooses those in which somebody took part who is to be recorded.

Entries of ended calls must be kept for as long as is asked for ('tandem ledger keep').

Exit code 0: the ledger knows all. 1: not.`,
		Example: "  tandem ledger reconcile --since 24h",
		RunE: a.asking(func(ctx context.Context, c *client.Client, _ []string) error {
			now := time.Now()
			ask := api.ReconcileAsk{App: ownership.AppID(appID), Participant: participant}
			var err error
			if ask.Since, err = moment("--since", since, now); err != nil {
				return err
			}
			if ask.Until, err = moment("--until", until, now); err != nil {
				return err
			}
			if ask.Until.IsZero() {
				ask.Until = now
			}
			r, err := c.ReconcileLedger(ctx, ask)
			if err != nil {
				return err
			}
			rows := [][]string{{"CHAIN", "TYPE", "STARTED", "ENDED", "THREAD"}}
			for _, u := range r.Unknown {
				rows = append(rows, []string{u.ID, dash(u.Type), u.Start.Format(time.DateTime), u.End.Format(time.DateTime), dash(u.Thread)})
			}
			if err := a.print(r, rows); err != nil {
				return err
			}
			a.done("the cloud has %d records, the ledger knows %d of them", r.Records, r.Known)
			if n := len(r.Unknown) + r.Others; n > 0 {
				return fmt.Errorf("%d calls of the cloud are not in the ledger", n)
			}
			return nil
		}),
	}
	c.Flags().StringVar(&since, "since", "24h", "from then on: 24h, 7d, 2026-11-29 or 2026-11-29T08:00:00Z")
	c.Flags().StringVar(&until, "until", "", "before then; else until now")
	c.Flags().StringVar(&appID, "app", "", "the app whose credentials ask; else the first that has some")
	c.Flags().StringVar(&participant, "participant", "", "only records with that participant's id")
	return c
}
