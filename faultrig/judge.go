package faultrig

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"tandem/admin/api"
	"tandem/faultrig/claims"
	"tandem/faultrig/fleet"
	"tandem/ownership"
)

// How long a fleet may take to be well after the last fault is healed.
const (
	convergeWithin = 10 * time.Second // I7
	settleWithin   = 40 * time.Second // calls under way come to their end
)

// judge asks whether the invariants hold, and breaks where they do not.
type judge struct {
	*Stage
	sc  Scenario
	res *Result
}

// whole asks, after the loads have ended, whether the invariants hold.
func (j judge) whole(ctx context.Context) {
	history := j.Load.Operations()
	j.res.Operations, j.res.Acked = len(history), j.Load.Count()
	j.broken = append(j.broken, claims.Linearizable(history)...)
	if j.sc.Judge != nil {
		j.sc.Judge(ctx, j.Stage)
	}
	if j.sc.Apart {
		return
	}
	if err := j.AwaitAll(ctx, fleet.HealWithin); err != nil {
		j.Break("after the fault was healed: %v", err)
		return
	}
	if j.sc.Calls > 0 {
		j.calls(ctx)
	}
	j.tables(ctx)
	if j.sc.Calls > 0 {
		j.fates(ctx)
	}
	if n := j.Desk.Late(); n > 0 {
		j.Note("%d hand-overs were on their way to the bot when their node was paused, and arrived with a passed epoch", n)
	}
}

func (j judge) calls(ctx context.Context) {
	settle, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	if err := j.Cloud.Settle(settle); err != nil {
		j.Note("some simulated calls had not ended: %v", err)
	}
	r := j.Cloud.Report()
	j.res.Calls = r
	if r.OnTheirWay > 0 {
		j.Note("%d simulated hand-overs were on their way to the bot when their node was paused, and arrived with a passed epoch", r.OnTheirWay)
	}
	for _, bad := range []struct {
		name string
		n    int
	}{
		{"I5: stale Graph actions", r.StaleActions}, {"I4: notifications lost", r.Lost}, {"I4: handled twice", r.HandledTwice},
		{"I4: out of order", r.OutOfOrder}, {"I4: altered", r.Altered}, {"I1: misrouted", r.Misrouted}, {"I6: stray redirects", r.StrayHops},
		{"I4: events that a bot must not hear", r.WrongEvents},
		{"the bot's replies lost", r.RepliesLost},
	} {
		if bad.n > 0 {
			j.Break("%s: %d of %d calls, %d notifications; %s", bad.name, bad.n, r.Calls, r.NotificationsSent, strings.Join(r.Violations, "; "))
		}
	}
	if r.AnsweredLate > 0 {
		j.Late("%d of %d calls were answered late or never; %s", r.AnsweredLate, r.Calls, strings.Join(r.Violations, "; "))
	}
}

// tables: every node has the same table (I7), every acknowledged claim
// stands in it (I3), and all say the same owners (I1).
func (j judge) tables(ctx context.Context) {
	var tables []table
	begun := time.Now()
	same := fleet.Until(ctx, convergeWithin, 100*time.Millisecond, func() bool {
		tables = tables[:0]
		for _, n := range j.Nodes {
			t, err := readTable(ctx, n)
			if err != nil {
				return false
			}
			tables = append(tables, t)
		}
		for _, t := range tables[1:] {
			if t.sum != tables[0].sum {
				return false
			}
		}
		return true
	})
	if !same {
		for _, t := range tables {
			j.Break("I7: 10s after the fault %s had table %s at index %d with %d calls", t.node, t.sum, t.applied, len(t.calls))
		}
		if len(tables) < len(j.Nodes) {
			j.Break("I7: only %d of %d nodes told their table", len(tables), len(j.Nodes))
		}
		return
	}
	j.recoveries["same table everywhere"] = append(j.recoveries["same table everywhere"], time.Since(begun))
	j.history(ctx)
	t := tables[0]
	zones := map[ownership.NodeID]string{}
	for _, n := range j.All() {
		zones[n.ID] = n.Zone
	}
	wrong, of := j.Load.Misplaced(t.calls, zones)
	j.some("I3: claims that are not what was claimed", wrong, of)
	for _, p := range t.partitions {
		j.Desk.Owner(p.ID, p.Epoch, p.Owner, "the table")
	}
	lost := 0
	acked := j.Load.Acks()
	for id, ack := range acked {
		c, ok := t.calls[id]
		ended := j.Load.EndedAt(id)
		switch {
		case !ok && !ended.IsZero() && time.Since(ended) > tombstones: // the region may have forgotten it
		case !ok:
			lost++
			if lost <= 5 {
				j.Break("I3: call %s was acknowledged in partition %d at epoch %d and is not in the table", id, ack.Part, ack.Epoch)
			}
		case c.Partition != ack.Part:
			j.Break("I3: call %s was acknowledged in partition %d and stands in %d", id, ack.Part, c.Partition)
		case c.State == ownership.CallEnded && ended.IsZero():
			j.Break("I3: call %s has ended (%s), and nobody ended it", id, c.Ending)
		}
	}
	if lost > 5 {
		j.Break("I3: %d of %d acknowledged claims are lost", lost, len(acked))
	}
}

// tombstones is how long a region remembers a call that has ended: cluster.tombstones as it is
// shipped. A scenario of many rounds takes longer.
const tombstones = 15 * time.Minute

// table is all that a node says of its table.
type table struct {
	node       ownership.NodeID
	applied    uint64
	sum        string
	partitions []api.PartitionIn
	calls      map[ownership.CallID]ownership.Call
}

func readTable(ctx context.Context, n *fleet.Node) (table, error) {
	t := table{node: n.ID, calls: map[ownership.CallID]ownership.Call{}}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	before, err := n.Status(ctx)
	if err != nil {
		return t, err
	}
	t.applied = before.Cluster.Applied
	if t.partitions, err = n.API.Partitions(ctx); err != nil {
		return t, err
	}
	hash := sha256.New()
	enc := json.NewEncoder(hash)
	if err := enc.Encode(t.partitions); err != nil {
		return t, err
	}
	for cursor := ""; ; {
		page, err := n.API.Calls(ctx, ownership.CallFilter{}, cursor, 1000)
		if err != nil {
			return t, err
		}
		for _, c := range page.Items {
			t.calls[c.ID] = c.Call
			if err := enc.Encode(c.Call); err != nil {
				return t, err
			}
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	t.sum = hex.EncodeToString(hash.Sum(nil)[:6])
	return t, nil
}

var (
	crashed = regexp.MustCompile(`(?m)^(panic: |fatal error: |WARNING: DATA RACE).*`)
	// A bearer token as the cloud sends it: three parts in base64url.
	bearerShape = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}`)
)

// secrets looks through all that the nodes wrote: no crash, and no secret (I10).
func (j judge) secrets() {
	keys, err := os.ReadFile(j.File("handle-keys"))
	if err != nil {
		j.Break("the rig could not read its own handle keys: %v", err)
		return
	}
	for _, n := range j.Nodes {
		text, err := os.ReadFile(n.LogFile)
		if err != nil {
			j.Break("reading the log of %s: %v", n.ID, err)
			continue
		}
		if m := crashed.Find(text); m != nil {
			j.Break("%s crashed: %s", n.ID, m)
		}
		_, key, _ := bytes.Cut(bytes.TrimSpace(keys), []byte(":"))
		for name, found := range map[string]bool{
			"the client secret": bytes.Contains(text, []byte(fleet.ClientSecret)),
			"the handle key":    len(key) > 0 && bytes.Contains(text, key),
			"a bearer token":    bearerShape.Match(text),
		} {
			if found {
				j.Break("I10: the log of %s holds %s", n.ID, name)
			}
		}
	}
}

// Summary is one line of a result, for a log.
func (r Result) Summary() string {
	return fmt.Sprintf("%s %s: %s", r.Fault, r.Title, r.verdict())
}
