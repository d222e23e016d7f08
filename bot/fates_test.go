package bot

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"tandem/graph"
	"tandem/ownership"
)

// fates are those of the calls that were released.
func (l *fakeLedger) fates() (out []ownership.Fate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, act := range l.acts {
		if r, ok := act.(ownership.Release); ok {
			out = append(out, r.Fate)
		}
	}
	return out
}

// TestTheLedgerIsToldWhatBecameOfACall: who alone knows it says so.
func TestTheLedgerIsToldWhatBecameOfACall(t *testing.T) {
	refused := func(kind error, status int) error { return refusal(kind, status, false) }
	for name, tc := range map[string]struct {
		says    string        // the bot's reply
		takes   time.Duration // Graph, to refuse the answer
		err     error
		remote  graph.Remote
		becomes ownership.Fate
	}{
		"the bot would not have it":        {says: `{"reject":{"reason":"busy"}}`, becomes: ownership.FateRejected},
		"the caller gave up":               {err: refused(graph.ErrGone, 404)},
		"it was over when the answer came": {err: refused(graph.ErrGone, 404), takes: time.Minute, becomes: ownership.FateLate},
		"refused, and it rings":            {err: refused(graph.ErrRefused, 400), remote: graph.Remote{State: "incoming"}, becomes: ownership.FateLost},
		"another region was quicker":       {err: refused(graph.ErrRefused, 409), remote: graph.Remote{State: "established", CallbackURI: "https://other.example/x"}, becomes: ownership.FateLost},
		"refused after its clock was over": {err: refused(graph.ErrRefused, 400), remote: graph.Remote{State: "incoming"}, takes: time.Minute, becomes: ownership.FateLate},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				how := AnswerByRouter
				if tc.says != "" {
					how = AnswerByBot
				}
				s := newStand(t, how, nil)
				s.bot.script = func(context.Context, int, ownership.HandOver) (ownership.Reply, error) {
					return ownership.Reply{Status: 200, Body: []byte(tc.says)}, nil
				}
				s.graph.answer = func(int) error { time.Sleep(tc.takes); return tc.err }
				s.graph.get = func() (graph.Remote, error) { return tc.remote, nil }
				h := incoming("m1")
				h.Deadline = time.Now().Add(10 * time.Second)
				if _, err := s.Incoming(t.Context(), h); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				if got := s.ledger.fates(); len(got) != 1 || got[0] != tc.becomes {
					t.Errorf("the ledger is told %q, want %q", got, tc.becomes)
				}
			})
		})
	}
}
