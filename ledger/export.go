package ledger

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Why a subtree stands in an export instead of its entries.
const (
	GapDeleted = "deleted"  // by the region's policy
	GapLeftOut = "left-out" // whoever asked for the export did not want them
)

// Gap is the line of an export that stands for a whole subtree.
type Gap struct {
	Why   string `json:"gap"`
	First uint64 `json:"first"`
	Level int    `json:"level"`
	Hash  Hash   `json:"hash"`
}

// End is the last line of an export.
type End struct {
	Head string `json:"head"` // signed
	Key  string `json:"key"`  // by which the region says that it is checked; know it from elsewhere
}

// Line writes a gap or an end as a line, without a line feed.
func Line[T Gap | End](v T) []byte {
	line, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("writing an export of the ledger: %v", err)) // of strings and numbers
	}
	return line
}

// maxLine bounds a line of an export, in bytes.
const maxLine = 4096

// Report is what the check of an export has found.
type Report struct {
	Head     Head     `json:"-"`
	Name     string   `json:"name"`     // of the region, as its head says
	Size     uint64   `json:"size"`     // entries that the region's ledger had
	Entries  uint64   `json:"entries"`  // of them in the export
	Deleted  uint64   `json:"deleted"`  // by policy
	LeftOut  uint64   `json:"left_out"` // by whoever made the export
	Key      string   `json:"key"`      // that has signed the head
	Pinned   bool     `json:"pinned"`   // the caller named the key; else it is the export's own word
	Problems []string `json:"problems"` // none: every entry is as it was written, and none is missing
}

// maxProblems bounds what a report tells.
const maxProblems = 20

// checker follows an export line by line.
type checker struct {
	Report
	tree   Tree
	broken bool   // the numbers do not follow, so the root says nothing
	told   uint64 // entries deleted, by the last entry that tells
	end    *End
}

// Verify checks an export in JSON lines against its head, by the keys that the caller
// knows, or by the export's own. The error is one of reading.
func Verify(export io.Reader, keys ...string) (Report, error) {
	c := &checker{Report: Report{Problems: []string{}, Pinned: len(keys) > 0}}
	in := bufio.NewReaderSize(export, maxLine)
	for n := 1; ; n++ {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			c.finish(keys)
			return c.Report, nil
		case errors.Is(err, io.EOF):
			c.wrong("line %d is cut short", n)
			c.broken = true
			c.finish(keys)
			return c.Report, nil
		case errors.Is(err, bufio.ErrBufferFull):
			c.wrong("line %d is longer than any line of an export", n)
			c.broken = true
			c.finish(keys)
			return c.Report, nil
		case err != nil:
			return c.Report, fmt.Errorf("reading an export of the ledger: %w", err)
		}
		c.line(n, line[:len(line)-1])
	}
}

func (c *checker) wrong(format string, args ...any) {
	if len(c.Problems) < maxProblems {
		c.Problems = append(c.Problems, fmt.Sprintf(format, args...))
	}
}

func (c *checker) line(n int, line []byte) {
	if c.end != nil {
		c.wrong("line %d follows the end", n)
		return
	}
	var err error
	switch {
	case bytes.HasPrefix(line, []byte(`{"gap":`)):
		err = c.gap(line)
	case bytes.HasPrefix(line, []byte(`{"head":`)):
		var end End
		if err = exactly(line, &end); err == nil {
			c.end = &end
		}
	default:
		err = c.entry(line)
	}
	if err != nil {
		c.broken = true
		c.wrong("line %d: %v", n, err)
	}
}

func (c *checker) entry(line []byte) error {
	e, err := Decode(line)
	if err != nil {
		return err
	}
	if err := c.follows(e.N); err != nil {
		return err
	}
	c.Entries++
	if e.Kind == Deleted {
		c.told = e.Total
	}
	return c.tree.Push(0, HashOf(line), nil)
}

func (c *checker) gap(line []byte) error {
	var g Gap
	if err := exactly(line, &g); err != nil {
		return err
	}
	if g.Why != GapDeleted && g.Why != GapLeftOut || g.Level < 0 || g.Level >= MaxLevel {
		return errors.New("it is no gap of an export")
	}
	if err := c.follows(g.First); err != nil {
		return err
	}
	count := Subtree{Level: g.Level}.Count()
	if g.Why == GapDeleted {
		c.Deleted += count
	} else {
		c.LeftOut += count
	}
	return c.tree.Push(g.Level, g.Hash, nil)
}

// follows says what is missing before an entry.
func (c *checker) follows(n uint64) error {
	switch next := c.tree.Size(); {
	case c.broken || n == next:
		return nil
	case n > next:
		return fmt.Errorf("entries %d to %d are missing", next, n-1)
	default:
		return fmt.Errorf("entry %d follows entry %d", n, next-1)
	}
}

// exactly reads a line that is spelled as Line spells it.
func exactly[T Gap | End](line []byte, into *T) error {
	if err := strictly(line, into); err != nil {
		return err
	}
	if !bytes.Equal(Line(*into), line) {
		return errors.New("it is not spelled as in an export")
	}
	return nil
}

// finish holds what was read against the head.
func (c *checker) finish(keys []string) {
	if c.end == nil {
		c.wrong("the export has no end: its head is missing")
		return
	}
	if len(keys) > 0 && !slices.Contains(keys, c.end.Key) {
		c.wrong("it is signed with the key %.120s, which is none of those that you named", c.end.Key)
		return
	}
	h, err := Open(c.end.Head, c.end.Key)
	if err != nil {
		c.wrong("the head: %v", err)
		return
	}
	c.Head, c.Name, c.Size, c.Key = h, h.Name, h.Size, c.end.Key
	switch {
	case c.broken:
	case h.Size != c.tree.Size():
		c.wrong("the head is over %d entries, the export has %d", h.Size, c.tree.Size())
	case h.Root != c.tree.Root():
		c.wrong("the entries are not those that were signed: at least one was changed")
	case c.LeftOut == 0 && c.told != c.Deleted:
		c.wrong("%d entries are gone, the ledger tells of %d that were deleted by policy", c.Deleted, c.told)
	}
}

// CSVHead are the columns of WriteCSV.
var CSVHead = []string{"n", "at", "kind", "call", "app", "tenant", "chain", "thread", "claimed_at", "answered_at", "node", "partition", "reason",
	"by", "from", "action", "subject", "status", "count", "total"}

// WriteCSV writes an entry as a row under CSVHead. A text that a spreadsheet would take
// for a formula gets a ' in front.
func WriteCSV(w *csv.Writer, e Entry) error {
	row := []string{strconv.FormatUint(e.N, 10), moment(e.At), string(e.Kind), e.Call, e.App, e.Tenant, e.Chain, e.Thread, moment(e.ClaimedAt), moment(e.AnsweredAt),
		e.Node, number(uint64(e.Partition)), e.Reason, e.By, e.From, e.Action, e.Subject, number(uint64(e.Status)), number(e.Count), number(e.Total)}
	for i, s := range row {
		if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
			row[i] = "'" + s
		}
	}
	return w.Write(row)
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

func number(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}
