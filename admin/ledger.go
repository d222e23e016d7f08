package admin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humahttprouter"

	"tandem/admin/api"
	"tandem/ledger"
	"tandem/ownership"
)

// Ledger is the region's ledger as this node holds it.
type Ledger interface {
	// List returns at most limit entries that the filter chooses, from the cursor on; newest: those
	// before the cursor, the newest first, and 0 is the end.
	List(f ledger.Filter, cursor uint64, limit int, newest bool) (api.LedgerPage, error)
	// Head signs a head; before, if it is not 0, is a number of entries that it proves to begin with.
	Head(before uint64) (api.LedgerHead, error)
	// Prove proves one entry: ErrUnknown for one that is not there, or was deleted.
	Prove(n uint64) (api.LedgerProof, error)
	// Export writes the entries that the filter chooses, in JSON lines or as CSV.
	Export(ctx context.Context, to io.Writer, f ledger.Filter, csv bool) error
	// Reconcile compares the cloud's records with the ledger: ErrUnknown for an app that has no
	// credentials.
	Reconcile(context.Context, api.ReconcileAsk) (api.Reconciled, error)
}

// Content types of an export.
const (
	jsonLines = "application/x-ndjson"
	textCSV   = "text/csv"
)

// LedgerFilter chooses entries. It is exported for huma, which fills in no other parts.
type LedgerFilter struct {
	Kind   string    `query:"kind" enum:"change,ended,lost,late,rejected,orphaned,deleted"`
	Tenant string    `query:"tenant" maxLength:"64"`
	Call   string    `query:"call" maxLength:"160"`
	Thread string    `query:"thread" maxLength:"512"`
	Since  time.Time `query:"since" doc:"Entries of then and later."`
	Until  time.Time `query:"until" doc:"Entries of before then."`
}

func (in *LedgerFilter) filter() (ledger.Filter, error) {
	f := ledger.Filter{Kind: ledger.Kind(in.Kind), Tenant: strings.ToLower(in.Tenant), Thread: in.Thread, Since: in.Since, Until: in.Until}
	if in.Call != "" {
		id, err := ownership.ParseCallID(in.Call)
		if err != nil {
			return f, huma.Error400BadRequest(err.Error())
		}
		f.Call = string(id)
	}
	return f, nil
}

// ledgerAsked is the input of the list of entries.
type ledgerAsked struct {
	Asking
	LedgerFilter
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Cursor uint64 `query:"cursor" doc:"The next of the page before."`
	Newest bool   `query:"newest" doc:"The newest entries first. One answer looks through at most 100,000 of them: of fewer items than asked for, more says that there are older ones to look through."`
}

type exportAsked struct {
	LedgerFilter
	Format string `query:"format" enum:"jsonl,csv" doc:"Absent: as the Accept header says, JSON lines by default."`
	Accept string `header:"Accept"`
}

func (in *exportAsked) csv() bool {
	return in.Format == "csv" || in.Format == "" && strings.Contains(in.Accept, textCSV)
}

// ledgerDoor is the part of the door that is about the ledger.
type ledgerDoor struct{ *Door }

// routes puts it on the door.
func (d ledgerDoor) routes() {
	if d.deps.Ledger == nil {
		d.deps.Ledger = noLedger{}
	}
	huma.Register(d.api, d.reads("list-ledger", "/v1/ledger", "What became of calls, and who changed what: the region's ledger, filtered, page by page"),
		func(ctx context.Context, in *ledgerAsked) (*answer[api.LedgerPage], error) {
			return freshly(ctx, d.Door, in.Asking, func() (page api.LedgerPage, err error) {
				f, err := in.filter()
				if err == nil {
					page, err = d.deps.Ledger.List(f, in.Cursor, in.Limit, in.Newest)
				}
				page.Items = orEmpty(page.Items)
				return page, err
			})
		})
	head := d.reads("get-ledger-head", "/v1/ledger/head", "How much the ledger holds, signed by the region")
	head.Errors = append(head.Errors, http.StatusConflict)
	huma.Register(d.api, head,
		func(ctx context.Context, in *struct {
			Asking
			Before uint64 `query:"before" doc:"Also prove that the ledger begins with its first so many entries: those of a head that was kept."`
		}) (*answer[api.LedgerHead], error) {
			return freshly(ctx, d.Door, in.Asking, func() (api.LedgerHead, error) { return d.deps.Ledger.Head(in.Before) })
		})
	huma.Register(d.api, d.reads("prove-ledger-entry", "/v1/ledger/entries/{n}/proof", "The proof that an entry is in the ledger, in at most 2 KB"),
		func(ctx context.Context, in *struct {
			Asking
			N uint64 `path:"n"`
		}) (*answer[api.LedgerProof], error) {
			return freshly(ctx, d.Door, in.Asking, func() (api.LedgerProof, error) { return d.deps.Ledger.Prove(in.N) })
		})
	export := d.operation("export-ledger", http.MethodGet, "/v1/ledger/export", api.RoleRead, "The ledger in JSON lines, which 'tandem ledger verify' checks, or as CSV")
	export.Errors = append(export.Errors, http.StatusNotImplemented, http.StatusInternalServerError)
	export.Responses = map[string]*huma.Response{"200": {Description: "The ledger", Content: map[string]*huma.MediaType{jsonLines: {}, textCSV: {}}}}
	huma.Register(d.api, export, d.export)

	cloud := d.operation("reconcile-ledger", http.MethodPost, "/v1/ledger/reconcile", api.RoleOperate, "Calls that the cloud has records of and the ledger has not")
	cloud.Description += " Asks Graph's communications/callRecords with an app's credentials."
	cloud.Errors = append(cloud.Errors, http.StatusNotImplemented, http.StatusNotFound, http.StatusBadGateway)
	huma.Register(d.api, cloud, func(ctx context.Context, in *struct{ Body api.ReconcileAsk }) (*reply[api.Reconciled], error) {
		return d.reconcile(ctx, in.Body)
	})

	read(d.Door, toOne, "get-ledger-keep", "/v1/ledger/keep", "How long the region keeps the entries of its ledger",
		func(context.Context) (ownership.Keep, error) { return d.deps.Table.Keep(), nil })
	keep := d.noContent(d.change("set-ledger-keep", http.MethodPut, "/v1/ledger/keep", api.RoleOperate, "Change how long entries are kept, for the whole region"))
	keep.Description += " What is older goes with the next round, and does not come back."
	huma.Register(d.api, keep, func(ctx context.Context, in *struct{ Body ownership.Keep }) (*empty, error) {
		note(ctx, fmt.Sprintf("%d days, ended calls %d", in.Body.Days, in.Body.EndedDays))
		if !in.Body.Valid() {
			return nil, huma.Error400BadRequest(fmt.Sprintf("Entries are kept for 1 to %d days, those of ended calls for 0 to %d.", ownership.MaxKeepDays, ownership.MaxKeepDays))
		}
		if d.deps.Table.Format() < ownership.FormatLedger {
			return nil, huma.Error409Conflict("Not every node of the region knows a ledger yet: upgrade all of them first.")
		}
		return d.act(ctx, func(ctx context.Context) error {
			return d.tokenAct(ctx, ownership.SetKeep{At: d.now(), Keep: in.Body})
		})
	})
}

// reads describes a read of the ledger, which may go to another region.
func (d ledgerDoor) reads(id, path, summary string) huma.Operation {
	op := far(d.operation(id, http.MethodGet, path, api.RoleRead, summary), toOne)
	op.Errors = append(op.Errors, http.StatusNotImplemented)
	return op
}

// export streams the ledger. An error before the first byte becomes a problem; one after it
// breaks the connection, so that a part is never taken for the whole.
func (d ledgerDoor) export(_ context.Context, in *exportAsked) (*huma.StreamResponse, error) {
	f, err := in.filter()
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		_, w, _ := humahttprouter.Unwrap(ctx)
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(api.SnapshotTime)); err != nil {
			d.log.Warn("a ledger is written without a deadline of its own", "err", err)
		}
		c, cancel := context.WithTimeout(ctx.Context(), api.SnapshotTime)
		defer cancel()
		content, ending := jsonLines, "jsonl"
		if in.csv() {
			content, ending = textCSV, "csv"
		}
		file := &countingWriter{w: w, first: func() {
			w.Header().Set("Content-Type", content)
			w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="tandem-%s-ledger.%s"`, fileWord(string(d.cfg.Region)), ending))
			ctx.SetStatus(http.StatusOK)
		}}
		err := d.deps.Ledger.Export(c, file, f, in.csv())
		if err == nil {
			return
		}
		d.log.Error("exporting the ledger failed", "written", file.n, "err", err)
		if file.n > 0 {
			panic(http.ErrAbortHandler)
		}
		_ = huma.WriteErr(d.api, ctx, statusOf(err), err.Error()) // huma logs a failed write itself
	}}, nil
}

// reconcileTime bounds one comparison, and reconcileSpan what it may ask for.
const (
	reconcileTime = 2 * time.Minute
	reconcileSpan = 31 * 24 * time.Hour
)

func (d ledgerDoor) reconcile(ctx context.Context, ask api.ReconcileAsk) (*reply[api.Reconciled], error) {
	ask.App = ownership.AppID(strings.ToLower(string(ask.App)))
	if ask.Until.IsZero() {
		ask.Until = d.now()
	}
	switch {
	case ask.Since.IsZero() || !ask.Since.Before(ask.Until):
		return nil, huma.Error400BadRequest("since must be before until.")
	case ask.Until.Sub(ask.Since) > reconcileSpan:
		return nil, huma.Error400BadRequest("The cloud keeps its records for 30 days: ask for less at a time.")
	}
	ctx, cancel := context.WithTimeout(ctx, reconcileTime)
	defer cancel()
	out, err := d.deps.Ledger.Reconcile(ctx, ask)
	if err != nil {
		if statusOf(err) == http.StatusInternalServerError {
			return nil, huma.Error502BadGateway(err.Error()) // what is left is the cloud's
		}
		return nil, problem(err)
	}
	out.Unknown = orEmpty(out.Unknown)
	return &reply[api.Reconciled]{out}, nil
}

// noLedger stands where a node is built without one.
type noLedger struct{}

func (noLedger) List(ledger.Filter, uint64, int, bool) (api.LedgerPage, error) {
	return api.LedgerPage{}, absent("The ledger")
}
func (noLedger) Head(uint64) (api.LedgerHead, error) { return api.LedgerHead{}, absent("The ledger") }
func (noLedger) Prove(uint64) (api.LedgerProof, error) {
	return api.LedgerProof{}, absent("The ledger")
}
func (noLedger) Export(context.Context, io.Writer, ledger.Filter, bool) error {
	return absent("The ledger")
}
func (noLedger) Reconcile(context.Context, api.ReconcileAsk) (api.Reconciled, error) {
	return api.Reconciled{}, absent("The ledger")
}
