package api

import (
	"encoding/json"
	"time"

	"tandem/ledger"
	"tandem/ownership"
)

// LedgerPage is a page of a region's ledger, oldest entries first unless the newest were asked for.
type LedgerPage struct {
	Items []ledger.Entry `json:"items"`
	Next  uint64         `json:"next" doc:"The cursor of the next page."`
	More  bool           `json:"more" doc:"There is a next page by now."`
}

// LedgerHead is what a region signs of its ledger.
type LedgerHead struct {
	Head    string         `json:"head" doc:"The signed head, a note of golang.org/x/mod/sumdb/note: name, number of entries, root, time."`
	Key     string         `json:"key" doc:"What checks its signature. Keep it: by its own word alone, an export proves nothing."`
	Keys    []string       `json:"keys" doc:"The keys that the region's heads may be signed with now, one for each handle key."`
	Size    uint64         `json:"size" doc:"Entries that were ever written."`
	Deleted uint64         `json:"deleted" doc:"Of them, deleted by policy."`
	Keep    ownership.Keep `json:"keep" doc:"How long entries are kept; 0 days: nothing was agreed on yet, and nothing is deleted."`
	Hashes  []string       `json:"hashes,omitempty" doc:"With before: the proof that the ledger begins with so many entries of before."`
}

// LedgerProof shows that one entry is in the ledger.
type LedgerProof struct {
	Entry  json.RawMessage `json:"entry" doc:"The line of the entry, byte for byte."`
	Head   string          `json:"head" doc:"The signed head."`
	Hashes []string        `json:"hashes" doc:"SHA-256 in base64, from the entry up to the root."`
}

// ReconcileAsk says which calls of the cloud are compared with the ledger.
type ReconcileAsk struct {
	App         ownership.AppID `json:"app,omitempty" doc:"Whose credentials ask the cloud, with the permission CallRecords.Read.All; empty: the first app that has some."`
	Since       time.Time       `json:"since" doc:"Calls that started from then on; the cloud keeps its records for 30 days."`
	Until       time.Time       `json:"until" doc:"And before then. A record comes to be some time after its call has ended."`
	Participant string          `json:"participant,omitempty" maxLength:"128" doc:"Only records with that participant's id."`
}

// Reconciled is what the comparison has found.
type Reconciled struct {
	Records int           `json:"records" doc:"That the cloud has of this time."`
	Known   int           `json:"known" doc:"Of them, that the ledger or the table tells of."`
	Unknown []CloudRecord `json:"unknown" doc:"The others, oldest first, at most 1,000."`
	Others  int           `json:"others,omitempty" doc:"More of them than are listed."`
}

// CloudRecord is a call record of the cloud (communications/callRecords of Graph v1.0), without names.
type CloudRecord struct {
	ID         string    `json:"id" doc:"The callChainId."`
	Type       string    `json:"type,omitempty"`
	Start      time.Time `json:"start"`
	End        time.Time `json:"end,omitzero"`
	Modalities []string  `json:"modalities,omitempty"`
	Thread     string    `json:"thread,omitempty" doc:"Of its joinWebUrl."`
}
