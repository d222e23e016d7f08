package console

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tandem/admin/api"
	"tandem/ledger"
	"tandem/ownership"
)

// LedgerQuery is what the entries are filtered by, as the reader typed it.
type LedgerQuery struct {
	Kind, Tenant, Call, Thread, Day, Cursor string
}

func ledgerQueryOf(v url.Values) LedgerQuery {
	get := func(name string) string { return strings.TrimSpace(v.Get(name)) }
	return LedgerQuery{Kind: get("kind"), Tenant: get("tenant"), Call: get("call"), Thread: get("thread"), Day: get("day"), Cursor: v.Get("cursor")}
}

// Narrowed reports whether any filter is set.
func (q LedgerQuery) Narrowed() bool {
	q.Cursor = ""
	return q != LedgerQuery{}
}

// Ledger is the page of a region's ledger, the newest entries first.
type Ledger struct {
	LedgerQuery
	At     ownership.Region
	Items  []ledger.Entry
	Next   uint64
	More   bool
	Kinds  []ledger.Kind
	Head   api.LedgerHead
	Signed Signed
}

// Signed is what a signed head says, and whether its signature is good.
type Signed struct {
	Good bool
	Why  string // it is not
	ledger.Head
}

// URL returns the page of entries with these filters and another cursor; 0: the first.
func (l Ledger) URL(cursor uint64) string {
	next := ""
	if cursor > 0 {
		next = strconv.FormatUint(cursor, 10)
	}
	return link(l.At, "ledger", "?", "kind", l.Kind, "tenant", l.Tenant, "call", l.Call, "thread", l.Thread, "day", l.Day, "cursor", next)
}

// pageEntries is how many entries a page holds.
const pageEntries = 100

// ledgerPage is the list of entries, or the page of one.
func ledgerPage(a *asking) (string, any, error) {
	if a.id != "" {
		return entry(a)
	}
	out := Ledger{LedgerQuery: ledgerQueryOf(a.q), At: a.at, Kinds: ledger.Kinds}
	since, until := "", ""
	if out.Day != "" {
		day, err := time.Parse(time.DateOnly, out.Day)
		if err != nil {
			return "", nil, &Refusal{http.StatusBadRequest, "“" + cut(out.Day, 20) + "” is no day: write one such as 2026-11-29."}
		}
		since, until = day.Format(time.RFC3339), day.AddDate(0, 0, 1).Format(time.RFC3339)
	}
	var page api.LedgerPage
	if _, err := a.get(&page, "/v1/ledger", "newest", "true", "limit", strconv.Itoa(pageEntries), "cursor", out.Cursor,
		"kind", out.Kind, "tenant", out.Tenant, "call", out.Call, "thread", out.Thread, "since", since, "until", until); err != nil {
		return "", nil, err
	}
	out.Items, out.Next, out.More = page.Items, page.Next, page.More
	if _, err := a.get(&out.Head, "/v1/ledger/head"); err != nil {
		return "", nil, err
	}
	head, err := ledger.Open(out.Head.Head, out.Head.Key)
	out.Signed = signedOf(head, err)
	return "ledger", out, nil
}

func signedOf(h ledger.Head, err error) Signed {
	s := Signed{Good: err == nil, Head: h}
	if err != nil {
		s.Why = err.Error()
	}
	return s
}

// EntryPage is the page of one entry, with its proof.
type EntryPage struct {
	ledger.Entry
	Proof  ledger.Proof
	Line   string // as the ledger has it, byte for byte
	Key    string
	Signed Signed
}

func entry(a *asking) (string, any, error) {
	var proof ledger.Proof
	if _, err := a.get(&proof, v1("ledger", "entries", a.id, "proof")); err != nil {
		return "", nil, err
	}
	var head api.LedgerHead
	if _, err := a.get(&head, "/v1/ledger/head"); err != nil {
		return "", nil, err
	}
	out := EntryPage{Proof: proof, Line: string(proof.Entry), Key: head.Key}
	e, shown, err := proof.Check(head.Keys...)
	out.Entry, out.Signed = e, signedOf(shown, err)
	return "entry", out, nil
}
