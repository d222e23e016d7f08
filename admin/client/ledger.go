package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"tandem/admin/api"
	"tandem/ledger"
	"tandem/ownership"
)

// Ledger returns a page of the region's ledger: at most limit entries that the filter
// chooses, from the cursor on; newest: those before the cursor, the newest first, and 0 is the end.
func (c *Client) Ledger(ctx context.Context, f ledger.Filter, cursor uint64, limit int, newest bool) (api.LedgerPage, error) {
	query := chosen(f)
	query.Set("cursor", strconv.FormatUint(cursor, 10))
	query.Set("limit", strconv.Itoa(limit))
	if newest {
		query.Set("newest", "true")
	}
	return get[api.LedgerPage](ctx, c, "/v1/ledger", query)
}

func chosen(f ledger.Filter) url.Values {
	query := url.Values{}
	for name, value := range map[string]string{"kind": string(f.Kind), "tenant": f.Tenant, "call": f.Call, "thread": f.Thread} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for name, at := range map[string]time.Time{"since": f.Since, "until": f.Until} {
		if !at.IsZero() {
			query.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	return query
}

// LedgerHead returns the signed head of the region's ledger.
func (c *Client) LedgerHead(ctx context.Context) (api.LedgerHead, error) {
	return get[api.LedgerHead](ctx, c, "/v1/ledger/head", nil)
}

// ProveLedger returns the proof of one entry.
func (c *Client) ProveLedger(ctx context.Context, n uint64) (api.LedgerProof, error) {
	return get[api.LedgerProof](ctx, c, "/v1/ledger/entries/"+strconv.FormatUint(n, 10)+"/proof", nil)
}

// ExportLedger writes the entries that the filter chooses to w, in JSON lines or as CSV.
func (c *Client) ExportLedger(ctx context.Context, w io.Writer, f ledger.Filter, csv bool) error {
	query := chosen(f)
	if csv {
		query.Set("format", "csv")
	}
	return c.save(ctx, w, "/v1/ledger/export", query, "exporting the ledger")
}

// reconcileTime bounds one comparison, a little longer than the door takes.
const reconcileTime = 130 * time.Second

// ReconcileLedger compares the cloud's call records with the ledger.
func (c *Client) ReconcileLedger(ctx context.Context, ask api.ReconcileAsk) (out api.Reconciled, err error) {
	text, err := json.Marshal(ask)
	if err != nil {
		return out, fmt.Errorf("writing a request to the admin door: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, reconcileTime)
	defer cancel()
	res, err := c.request(ctx, http.MethodPost, "/v1/ledger/reconcile", nil, http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}, bytes.NewReader(text))
	if err != nil {
		return out, err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("reading what was compared: %w", err)
	}
	return out, nil
}

// LedgerKeep returns how long the region's ledger is kept; zero: nothing was agreed on yet.
func (c *Client) LedgerKeep(ctx context.Context) (ownership.Keep, error) {
	return get[ownership.Keep](ctx, c, "/v1/ledger/keep", nil)
}

// SetLedgerKeep changes it for the whole region.
func (c *Client) SetLedgerKeep(ctx context.Context, k ownership.Keep) error {
	return c.call(ctx, http.MethodPut, "/v1/ledger/keep", k, nil)
}
