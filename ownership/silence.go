package ownership

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Silence is what the leader knows of a node of which it hears nothing.
type Silence struct {
	Node  NodeID      `json:"node"`
	Since time.Time   `json:"since,omitzero" doc:"When it was last heard. Absent: it is not known."`
	Cause Cause       `json:"cause" enum:"unheard,refuses,stopped," doc:"Empty: it is not known."`
	Went  []Inherited `json:"went,omitempty" doc:"Where its partitions went, by node."`
}

// Inherited counts the partitions that one node got of a silent one.
type Inherited struct {
	Node       NodeID `json:"node"`
	Partitions int    `json:"partitions"`
}

// Cause says in one word why nothing is heard of a node.
type Cause string

// The causes.
const (
	Unheard Cause = "unheard" // no renewal of its lease came in
	Refuses Cause = "refuses" // its port refuses connections, so its process has most likely ended
	Stopped Cause = "stopped" // it gave its lease back
)

var causeTexts = map[Cause]string{
	Unheard: "the leader does not hear it",
	Refuses: "its cluster port refuses connections, so its process has most likely ended",
	Stopped: "it stopped and gave its lease back",
}

// Text says it to people, with what came of it; keeps counts the partitions that the
// node still owns.
func (s Silence) Text(keeps int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s fell silent", s.Node)
	if !s.Since.IsZero() {
		b.WriteString(" at " + s.Since.UTC().Format(time.RFC3339))
	}
	if why := causeTexts[s.Cause]; why != "" {
		b.WriteString(": " + why)
	}
	if len(s.Went) > 0 {
		b.WriteString("; its " + partitions(s.Went))
	}
	if keeps > 0 {
		fmt.Fprintf(&b, "; it keeps %s until its lease is certainly over and another node can take them", count(keeps))
	}
	return b.String()
}

// partitions says where partitions went.
func partitions(to []Inherited) string {
	all, parts := 0, make([]string, len(to))
	for i, w := range to {
		all += w.Partitions
		parts[i] = fmt.Sprintf("%s (%d)", w.Node, w.Partitions)
	}
	if len(parts) == 1 {
		return fmt.Sprintf("%s went to %s", count(all), to[0].Node)
	}
	return fmt.Sprintf("%s went to %s and %s", count(all), strings.Join(parts[:len(parts)-1], ", "), parts[len(parts)-1])
}

func count(partitions int) string {
	if partitions == 1 {
		return "1 partition"
	}
	return fmt.Sprintf("%d partitions", partitions)
}

// Inheritance counts who got what in a failover, by node.
func Inheritance(moves []Reassignment) []Inherited {
	var all []Inherited
	for _, m := range moves {
		i, found := slices.BinarySearchFunc(all, m.To, func(w Inherited, id NodeID) int { return strings.Compare(string(w.Node), string(id)) })
		if !found {
			all = slices.Insert(all, i, Inherited{Node: m.To})
		}
		all[i].Partitions++
	}
	return all
}

// InheritanceText says in a failover's event what came of a silence.
func InheritanceText(moves []Reassignment) string {
	return "it fell silent and its lease is over; its " + partitions(Inheritance(moves))
}

// Difference is a setting that must be equal on all nodes of a region and is not the
// leader's at a node.
type Difference struct {
	Node NodeID `json:"node"`
	Key  string `json:"key" doc:"Of the configuration."`
}
