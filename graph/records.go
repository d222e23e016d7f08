package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// CallRecord is what Graph keeps of a call or a meeting that is over, without names.
type CallRecord struct {
	ID         string // the callChainId of its calls
	Type       string // peerToPeer or groupCall
	Start, End time.Time
	Modalities []string
	Thread     string // of its joinWebUrl; empty: it has none
}

const (
	recordsOp   = "callRecords"
	maxPage     = 4 << 20 // bytes of one page of records
	recordsPath = "/communications/callRecords"
)

// CallRecords walks the records of calls that started from since on and before until, as Graph
// gives them. participant is the id of somebody who must have taken part; empty: anybody.
// It needs the application permission CallRecords.Read.All. An error ends the walk.
//
// Source: https://learn.microsoft.com/graph/api/callrecords-cloudcommunications-list-callrecords
// (v1.0): $filter takes startDateTime (lt, le, gt, ge) and participants_v2.id (eq); records
// are there for 30 days.
func (c *Calls) CallRecords(ctx context.Context, since, until time.Time, participant string) iter.Seq2[CallRecord, error] {
	return func(yield func(CallRecord, error) bool) {
		filter := fmt.Sprintf("startDateTime ge %s and startDateTime lt %s", since.UTC().Format(time.RFC3339), until.UTC().Format(time.RFC3339))
		if participant != "" {
			if strings.Trim(participant, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-:.@_+") != "" {
				yield(CallRecord{}, &CallError{Op: recordsOp, Kind: ErrRefused, Err: errors.New("that is no id of a participant")})
				return
			}
			filter += fmt.Sprintf(" and participants_v2/any(p:p/id eq '%s')", participant)
		}
		page := c.base + recordsPath + "?" + strings.ReplaceAll(url.Values{"$filter": {filter}}.Encode(), "+", "%20")
		for page != "" {
			var records []CallRecord
			var err error
			if records, page, err = c.recordPage(ctx, page); err != nil {
				yield(CallRecord{}, err)
				return
			}
			for _, r := range records {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// recordPage reads one page, and gives the address of the next one; empty: it was the last.
func (c *Calls) recordPage(ctx context.Context, page string) ([]CallRecord, string, error) {
	body, err := c.do(ctx, action{op: recordsOp, method: http.MethodGet, whole: page, limit: maxPage, requestID: randomID(), wantBody: true}, Permit{})
	if err != nil {
		return nil, "", err
	}
	fail := func(why string) ([]CallRecord, string, error) {
		return nil, "", &CallError{Op: recordsOp, Kind: ErrRefused, Status: http.StatusOK, Err: errors.New(why)}
	}
	var said struct {
		Value []struct {
			ID         string    `json:"id"`
			Type       string    `json:"type"`
			Start      time.Time `json:"startDateTime"`
			End        time.Time `json:"endDateTime"`
			Modalities []string  `json:"modalities"`
			JoinWebURL string    `json:"joinWebUrl"`
		} `json:"value"`
		Next string `json:"@odata.nextLink"`
	}
	if err := json.Unmarshal(body, &said); err != nil {
		return fail("the body is no page of call records")
	}
	// The token goes where the configuration says, and nowhere that an answer names.
	if said.Next != "" && !strings.HasPrefix(said.Next, c.base+recordsPath+"?") {
		return fail("its next page is at another address than " + c.base)
	}
	if said.Next == page {
		return fail("its next page is the same one")
	}
	out := make([]CallRecord, len(said.Value))
	for i, r := range said.Value {
		out[i] = CallRecord{ID: r.ID, Type: r.Type, Start: r.Start, End: r.End, Modalities: r.Modalities, Thread: threadOf(r.JoinWebURL)}
	}
	return out, said.Next, nil
}

// threadOf takes the thread out of the address of a meeting; empty: it names none.
func threadOf(joinWebURL string) string {
	u, err := url.Parse(joinWebURL)
	if err != nil {
		return ""
	}
	_, rest, ok := strings.Cut(u.Path, "/meetup-join/")
	if !ok {
		return ""
	}
	thread, _, _ := strings.Cut(rest, "/")
	return thread
}
