package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/ownership"
	"tandem/ownership/history"
)

// longestName bounds what names a call, or one of its notifications.
const longestName = 160

// checkName says what is wrong with an id as a user pasted it: of a call, a call chain, a
// notification, a scenario or a client's request.
func checkName(s string) error {
	if s == "" || len(s) > longestName || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' }) {
		return usage("%.40q is no id of a call or a notification", s)
	}
	return nil
}

// story is what happened to a call and what nodes did with its notifications, in the order
// of time, line by line. The region's history stands in it without a node.
func story(events []history.Event, t api.Trail) (rows [][]string) {
	type line struct {
		at   time.Time
		text string
	}
	var lines []line
	for _, e := range events {
		lines = append(lines, line{e.At, strings.TrimSpace(string(e.Kind) + "  " + e.Text)})
	}
	for i := range t.Steps {
		lines = append(lines, line{t.Steps[i].At, stepText(&t.Steps[i])})
	}
	slices.SortStableFunc(lines, func(a, b line) int { return a.at.Compare(b.at) })
	for _, l := range lines {
		rows = append(rows, []string{l.at.Local().Format("15:04:05.000"), l.text})
	}
	for _, n := range t.Nodes {
		if n.Error != "" {
			rows = append(rows, []string{"missing", fmt.Sprintf("%s: %s", partOf(n), n.Error)})
		}
	}
	if t.More {
		rows = append(rows, []string{"missing", "older steps: there are too many for one answer"})
	}
	return rows
}

// partOf names a node, or a region of which nobody answered.
func partOf(n api.TrailNode) string {
	if n.Node == "" {
		return "region " + string(n.Region)
	}
	return string(n.Node)
}

// stepText is one step in one line.
func stepText(s *history.Step) string {
	words := []string{string(s.Node), string(s.Kind)}
	if s.To != "" {
		words = append(words, "→ "+s.To)
	}
	if s.Partition != 0 {
		words = append(words, fmt.Sprintf("partition %s, epoch %s", s.Partition, s.Epoch))
	}
	if s.Status != 0 {
		words = append(words, strings.TrimSpace(fmt.Sprintf("%d %s", s.Status, http.StatusText(s.Status))))
	}
	if s.Took != 0 {
		words = append(words, s.Took.Round(10*time.Microsecond).String())
	}
	if s.Text != "" {
		words = append(words, s.Text)
	}
	if s.Message != "" {
		words = append(words, "["+s.Message+"]")
	}
	return strings.Join(words, "  ")
}

// callOrNone names the call of an answer.
func callOrNone(id ownership.CallID, state ownership.CallState) [][]string {
	return [][]string{{"call", dash(string(id))}, {"state", dash(state.String())}}
}

// pastFlags are the flags that ask for the table as it was.
type pastFlags struct {
	at    string
	index uint64
}

func (f *pastFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.at, "at", "", "as it was so long ago (10m), or at a time (2026-11-29T14:03:00Z), as far as the history reaches back")
	c.Flags().Uint64Var(&f.index, "index", 0, "as it was after this raft index")
	c.MarkFlagsMutuallyExclusive("at", "index")
}

// then is the moment that is asked for; its zero value: now.
func (f *pastFlags) then() (client.Then, error) {
	at, err := moment("--at", f.at, time.Now())
	return client.Then{Index: f.index, At: at}, err
}

// pastRows show partitions as they were: what stood in them is not told.
func pastRows(all []api.PartitionIn) [][]string {
	rows := [][]string{{"PARTITION", "OWNER", "EPOCH", "BORN ON", "RETIRED"}}
	for _, p := range all {
		rows = append(rows, []string{p.ID.String(), string(p.Owner), p.Epoch.String(), dash(string(p.BornOn)), yes(p.Retired)})
	}
	return inRegion(rows, all, func(p api.PartitionIn) ownership.Region { return p.Region })
}
