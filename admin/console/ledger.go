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
	Kind, Tenant, Call, Thread, Since, Until, Cursor string
}

func ledgerQueryOf(v url.Values) LedgerQuery {
	get := func(name string) string { return strings.TrimSpace(v.Get(name)) }
	return LedgerQuery{Kind: get("kind"), Tenant: get("tenant"), Call: get("call"), Thread: get("thread"), Since: get("since"), Until: get("until"), Cursor: v.Get("cursor")}
}

// minutes are how a browser's field spells a time, which is one of UTC here; with seconds where
// somebody chose them.
var minutes = []string{"2006-01-02T15:04", "2006-01-02T15:04:05"}

// moment reads such a time for the API; nothing stays nothing.
func moment(text string) (string, error) {
	for _, layout := range minutes {
		if t, err := time.Parse(layout, text); err == nil {
			return t.Format(time.RFC3339), nil
		}
	}
	if text != "" {
		return "", &Refusal{http.StatusBadRequest, "“" + cut(text, 20) + "” is no time: write one such as 2026-11-29T08:30, in UTC."}
	}
	return "", nil
}

// api are the filters as the API wants them, names and values in turn.
func (q LedgerQuery) api() ([]string, error) {
	since, err := moment(q.Since)
	if err != nil {
		return nil, err
	}
	until, err := moment(q.Until)
	return []string{"kind", q.Kind, "tenant", q.Tenant, "call", q.Call, "thread", q.Thread, "since", since, "until", until}, err
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
	return link(l.At, "ledger", "?", "kind", l.Kind, "tenant", l.Tenant, "call", l.Call, "thread", l.Thread, "since", l.Since, "until", l.Until, "cursor", next)
}

// Export returns the address of the entries that these filters choose, as a file.
func (l Ledger) Export(format string) string {
	return link("", "ledger", "export", "?", "format", format, "kind", l.Kind, "tenant", l.Tenant, "call", l.Call, "thread", l.Thread, "since", l.Since, "until", l.Until)
}

// pageEntries is how many entries a page holds.
const pageEntries = 100

// ledgerPage is the list of entries, or the page of one.
func ledgerPage(a *asking) (string, any, error) {
	if a.id != "" {
		return entry(a)
	}
	out := Ledger{LedgerQuery: ledgerQueryOf(a.q), At: a.at, Kinds: ledger.Kinds}
	chosen, err := out.api()
	if err != nil {
		return "", nil, err
	}
	var page api.LedgerPage
	if _, err := a.get(&page, "/v1/ledger", append(chosen, "newest", "true", "limit", strconv.Itoa(pageEntries), "cursor", out.Cursor)...); err != nil {
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

// ledgerFile is the address at the API of what a page of the ledger offers as a file; empty: the
// path is no such one.
func ledgerFile(path string, q url.Values) (string, error) {
	switch parts := strings.Split(path, "/"); {
	case path == "ledger/export":
		chosen, err := ledgerQueryOf(q).api()
		return address("/v1/ledger/export", "", append(chosen, "format", q.Get("format"))...), err
	case len(parts) == 3 && parts[0] == "ledger" && parts[2] == "proof":
		return address(v1("ledger", "entries", parts[1], "proof"), ownership.Region(q.Get("region"))), nil
	}
	return "", nil
}
