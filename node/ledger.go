package node

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"tandem/admin/api"
	"tandem/graph"
	evidence "tandem/ledger"
	"tandem/ownership"
	"tandem/store"
	"tandem/store/record"
)

// adminLedger is what the admin door shows of the region's ledger.
type adminLedger struct{ *Node }

// ledgerBatch is how many records are read at a time: no longer than that is the table's
// file held, which a restore would wait for.
const ledgerBatch = 2000

// errLedgerMoved says that entries were deleted while somebody read them.
var errLedgerMoved = fmt.Errorf("old entries were deleted meanwhile: ask again: %w", ownership.ErrBusy)

// signers are those of the region's heads: the first one signs.
func (n adminLedger) signers() ([]*evidence.Signer, error) {
	var all []*evidence.Signer
	name := evidence.NameOf(n.cfg.Deployment, string(n.Region()))
	for _, seed := range n.handles.Derived("ledger of region " + string(n.Region())) {
		s, err := evidence.NewSigner(name, seed)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// signed is a head of what a look at the ledger shows.
func (n adminLedger) signed(l *store.Ledger) (head, key string, err error) {
	all, err := n.signers()
	if err != nil {
		return "", "", err
	}
	head, err = all[0].Sign(evidence.Head{Size: l.Size(), Root: l.Root(), At: n.now()})
	return head, all[0].Key, err
}

// List implements admin.Ledger.
func (n adminLedger) List(f evidence.Filter, cursor uint64, limit int, newest bool) (api.LedgerPage, error) {
	page := api.LedgerPage{Next: cursor}
	l, err := n.table.Ledger()
	if err != nil {
		return page, err
	}
	defer l.Close()
	m := f.Matcher()
	bound := uint64(math.MaxUint64)
	if newest {
		if cursor == 0 || cursor > l.Size() {
			cursor = l.Size()
		}
		page.Next, bound = cursor, newestSought
	}
	take := func(leaf record.Leaf) (bool, error) {
		at := leaf.First
		if !newest {
			at += evidence.Subtree{Level: leaf.Level}.Count()
		}
		var e evidence.Entry
		chosen := false
		if leaf.Line != nil {
			if e, chosen, err = m.Match(leaf.Line); err != nil {
				return false, fmt.Errorf("reading entry %d of the ledger: %w", leaf.First, err)
			}
		}
		if bound--; bound == 0 || chosen && len(page.Items) == limit {
			page.More = true
			return false, nil
		}
		if chosen {
			page.Items = append(page.Items, e)
		}
		page.Next = at
		return true, nil
	}
	if newest {
		return page, l.WalkBack(cursor, take)
	}
	return page, l.Walk(cursor, take)
}

// newestSought is how many records are looked through for one page of the newest.
const newestSought = 100_000

// Head implements admin.Ledger.
func (n adminLedger) Head(before uint64) (api.LedgerHead, error) {
	l, err := n.table.Ledger()
	if err != nil {
		return api.LedgerHead{}, err
	}
	defer l.Close()
	all, err := n.signers()
	if err != nil {
		return api.LedgerHead{}, err
	}
	out := api.LedgerHead{Size: l.Size(), Deleted: l.Gone(), Keep: l.Keep(), Keys: []string{}}
	for _, s := range all {
		out.Keys = append(out.Keys, s.Key)
	}
	if out.Head, out.Key, err = n.signed(l); err != nil || before == 0 {
		return out, err
	}
	if before > l.Size() {
		return out, fmt.Errorf("the ledger here has %d entries, not yet %d: %w", l.Size(), before, ownership.ErrConflict)
	}
	hashes, err := evidence.ProveGrowth(l.Size(), before, l.Subroot)
	out.Hashes = texts(hashes)
	return out, err
}

// Prove implements admin.Ledger.
func (n adminLedger) Prove(entry uint64) (out api.LedgerProof, err error) {
	l, err := n.table.Ledger()
	if err != nil {
		return out, err
	}
	defer l.Close()
	if out.Entry, err = l.Entry(entry); err != nil {
		return out, err
	}
	hashes, err := evidence.Prove(l.Size(), entry, l.Subroot)
	if err != nil {
		return out, err
	}
	head, key, err := n.signed(l)
	if err != nil {
		return out, err
	}
	p := evidence.Proof{Entry: out.Entry, Head: head, Hashes: hashes}
	if _, _, err := p.Check(key); err != nil {
		return out, fmt.Errorf("%w: %w", errLedgerMoved, err) // it was restored while it was read
	}
	out.Head, out.Hashes = head, texts(hashes)
	return out, nil
}

func texts(hashes []evidence.Hash) []string {
	out := make([]string, len(hashes))
	for i, h := range hashes {
		out[i] = h.String()
	}
	return out
}

// Export implements admin.Ledger. It exports what the ledger holds when it begins.
func (n adminLedger) Export(ctx context.Context, to io.Writer, f evidence.Filter, asCSV bool) error {
	l, err := n.table.Ledger()
	if err != nil {
		return err
	}
	size := l.Size()
	head, key, err := n.signed(l)
	l.Close()
	if err != nil {
		return err
	}
	x := exporter{filter: f.Matcher(), size: size, csv: asCSV}
	if asCSV {
		x.rows = csv.NewWriter(&x.out)
		if err := x.rows.Write(evidence.CSVHead); err != nil {
			return err
		}
	}
	for x.next < size {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := x.batch(n.table); err != nil {
			return err
		}
		if err := x.flush(to); err != nil {
			return err
		}
	}
	if !asCSV {
		x.out.Write(evidence.Line(evidence.End{Head: head, Key: key}))
		x.out.WriteByte('\n')
	}
	return x.flush(to)
}

// exporter writes the ledger out, a batch of records at a time.
type exporter struct {
	filter  evidence.Matcher
	size    uint64
	csv     bool
	rows    *csv.Writer
	out     bytes.Buffer
	next    uint64 // entry
	leftOut uint64 // entries before next that the filter does not choose and that are yet to be told of
}

func (x *exporter) flush(to io.Writer) error {
	if x.rows != nil {
		x.rows.Flush()
	}
	_, err := to.Write(x.out.Bytes())
	x.out.Reset()
	return err
}

func (x *exporter) batch(table *store.Table) error {
	l, err := table.Ledger()
	if err != nil {
		return err
	}
	defer l.Close()
	left := ledgerBatch
	err = l.Walk(x.next, func(leaf record.Leaf) (bool, error) {
		if leaf.First != x.next || leaf.First+(evidence.Subtree{Level: leaf.Level}).Count() > x.size {
			return false, errLedgerMoved
		}
		if err := x.leaf(l, leaf); err != nil {
			return false, err
		}
		left--
		return left > 0 && x.next < x.size, nil
	})
	if err == nil && left == ledgerBatch {
		err = errLedgerMoved // there is less than there was: it was restored
	}
	if err == nil && x.next == x.size {
		err = x.gap(l)
	}
	return err
}

// leaf writes one record, or counts it among those that are left out.
func (x *exporter) leaf(l *store.Ledger, leaf record.Leaf) error {
	count := evidence.Subtree{Level: leaf.Level}.Count()
	if leaf.Line == nil {
		if x.leftOut > 0 {
			x.leftOut += count // it is within what is told of as left out
		} else if !x.csv {
			x.out.Write(evidence.Line(evidence.Gap{Why: evidence.GapDeleted, First: leaf.First, Level: leaf.Level, Hash: leaf.Root}))
			x.out.WriteByte('\n')
		}
		x.next += count
		return nil
	}
	e, chosen, err := x.filter.Match(leaf.Line)
	switch {
	case err != nil:
		return fmt.Errorf("reading entry %d of the ledger: %w", leaf.First, err)
	case !chosen:
		x.leftOut++
	default:
		if err := x.gap(l); err != nil {
			return err
		}
		if x.csv {
			err = evidence.WriteCSV(x.rows, e)
		} else {
			x.out.Write(leaf.Line)
			x.out.WriteByte('\n')
		}
	}
	x.next++
	return err
}

// gap tells of the entries that were left out, in the fewest whole subtrees.
func (x *exporter) gap(l *store.Ledger) error {
	for at := x.next - x.leftOut; x.leftOut > 0; {
		sub := evidence.Subtree{Index: at}
		for up := sub.Parent(); sub.Index%2 == 0 && up.Count() <= x.leftOut; up = sub.Parent() {
			sub = up
		}
		if !x.csv {
			root, err := l.Subroot(sub)
			if err != nil {
				return err
			}
			x.out.Write(evidence.Line(evidence.Gap{Why: evidence.GapLeftOut, First: at, Level: sub.Level, Hash: root}))
			x.out.WriteByte('\n')
		}
		at, x.leftOut = at+sub.Count(), x.leftOut-sub.Count()
	}
	return nil
}

// maxUnknown bounds the records that a comparison lists.
const maxUnknown = 1000

// slack is how much longer than its record a call may be known here: clocks differ, and the record of a
// meeting begins with its first user.
const slack = 24 * time.Hour

// Reconcile implements admin.Ledger. A record of the cloud is that of a call chain, which is
// one meeting or one call of two: it is known if the ledger has an entry of that chain, or
// of the same thread at about that time, or the table still holds such a call.
func (n adminLedger) Reconcile(ctx context.Context, ask api.ReconcileAsk) (api.Reconciled, error) {
	out := api.Reconciled{Unknown: []api.CloudRecord{}}
	cloud, err := n.graphOf(ask.App)
	if err != nil {
		return out, err
	}
	known, err := n.knownChains(ask.Since.Add(-slack), ask.Until.Add(slack))
	if err != nil {
		return out, err
	}
	for r, err := range cloud.CallRecords(ctx, ask.Since, ask.Until, ask.Participant) {
		if err != nil {
			return out, fmt.Errorf("reading the cloud's call records: %w", err)
		}
		out.Records++
		switch {
		case known[r.ID], r.Thread != "" && known[r.Thread]:
			out.Known++
		case len(out.Unknown) < maxUnknown:
			out.Unknown = append(out.Unknown, api.CloudRecord{ID: r.ID, Type: r.Type, Start: r.Start, End: r.End, Modalities: r.Modalities, Thread: r.Thread})
		default:
			out.Others++
		}
	}
	return out, nil
}

// knownChains are the chains and threads that the ledger has entries of, from then until
// then, and those of the calls in the table.
func (n adminLedger) knownChains(since, until time.Time) (map[string]bool, error) {
	known := map[string]bool{}
	l, err := n.table.Ledger()
	if err != nil {
		return nil, err
	}
	defer l.Close()
	m := evidence.Filter{Since: since, Until: until}.Matcher()
	err = l.Walk(0, func(leaf record.Leaf) (bool, error) {
		if leaf.Line == nil {
			return true, nil
		}
		e, chosen, err := m.Match(leaf.Line)
		if err == nil && chosen && e.Call != "" {
			known[e.Chain], known[e.Thread], known[e.Call] = true, true, true
		}
		return true, err
	})
	if err != nil {
		return nil, err
	}
	for c, err := range n.table.Each(ownership.CallFilter{}) {
		if err != nil {
			return nil, err
		}
		known[string(c.ID)], known[c.Thread] = true, true
		for _, g := range c.Groups {
			if chain, ok := g.Chain(); ok {
				known[chain] = true
			}
		}
	}
	delete(known, "")
	return known, nil
}

// graphOf is the client of an app's Graph; of no app: the first that there is.
func (n adminLedger) graphOf(app ownership.AppID) (*graph.Calls, error) {
	for _, o := range n.outbound {
		if app == "" || ownership.AppID(o.app) == app {
			return o.calls, nil
		}
	}
	if app == "" {
		return nil, fmt.Errorf("no app has credentials at the cloud (apps.graph): %w", ownership.ErrUnknown)
	}
	return nil, fmt.Errorf("app %q has no credentials at the cloud (apps.graph): %w", app, ownership.ErrUnknown)
}

// keepLedger has the region agree on how long its ledger is kept, once: the first leader
// tells its own configuration.
func (n maintenance) keepLedger(ctx context.Context) {
	if n.table.Keep().Valid() || n.table.Format() < ownership.FormatLedger {
		return
	}
	out, err := n.region.Do(ctx, ownership.SetKeep{At: n.now(), Keep: n.cfg.Ledger.keep()})
	if err == nil {
		err = out.Err
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		n.log.Warn("telling the region how long its ledger is kept; the next round tries again", "err", err)
	}
}
