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
	Signed   End      `json:"-"`        // the head as it is signed, to be kept
	Name     string   `json:"name"`     // of the region, as its head says
	Size     uint64   `json:"size"`     // entries that the region's ledger had
	Entries  uint64   `json:"entries"`  // of them in the export
	Deleted  uint64   `json:"deleted"`  // by policy
	LeftOut  uint64   `json:"left_out"` // by whoever made the export
	Key      string   `json:"key"`      // that has signed the head
	Pinned   bool     `json:"pinned"`   // the caller named the key; else it is the export's own word
	Begins   bool     `json:"begins"`   // it begins with the entries of the head that the caller had kept
	Problems []string `json:"problems"` // none: every entry is as it was written, and none is missing
}

// maxProblems bounds what a report tells.
const maxProblems = 20

// Known is what somebody who checks an export knows from elsewhere.
type Known struct {
	Keys   []string // of the region; none: the export's own word is taken
	Before *Head    // a head of former times that he has kept; nil: none
}

// checker follows an export line by line.
type checker struct {
	Report
	known  Known
	tree   Tree
	jumped bool   // past the size of the head that was kept, for the entries there were deleted
	broken bool   // the numbers do not follow, so the root says nothing
	told   uint64 // entries deleted, by the last entry that tells
	end    *End
}

// Verify checks an export in JSON lines against its head, and against what the caller knows. The
// error is one of reading.
func Verify(export io.Reader, known Known) (Report, error) {
	c := &checker{known: known, Report: Report{Problems: []string{}, Pinned: len(known.Keys) > 0}}
	in := bufio.NewReaderSize(export, maxLine)
	for n := 1; ; n++ {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			c.finish()
			return c.Report, nil
		case errors.Is(err, io.EOF):
			c.wrong("line %d is cut short", n)
			c.broken = true
			c.finish()
			return c.Report, nil
		case errors.Is(err, bufio.ErrBufferFull):
			c.wrong("line %d is longer than any line of an export", n)
			c.broken = true
			c.finish()
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

// entry takes an entry's line. What is in it the root tells: only that it is a line of a
// ledger is looked at, to say where one is not.
func (c *checker) entry(line []byte) error {
	n, _, kind, err := Glance(line)
	if err == nil && !json.Valid(line) {
		err = ErrNoEntry
	}
	if err != nil {
		return err
	}
	if err := c.follows(n); err != nil {
		return err
	}
	c.Entries++
	if kind == Deleted {
		e, err := Decode(line)
		if err != nil {
			return err
		}
		c.told = e.Total
	}
	return c.push(0, HashOf(line))
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
	return c.push(g.Level, g.Hash)
}

// push makes the tree grow, and compares it with the head that was kept where it has its size.
func (c *checker) push(level int, root Hash) error {
	c.compare()
	was := c.tree.Size()
	if err := c.tree.Push(level, root, nil); err != nil {
		return err
	}
	if b := c.known.Before; b != nil && was < b.Size && b.Size < c.tree.Size() {
		c.jumped = true
	}
	c.compare()
	return nil
}

func (c *checker) compare() {
	if b := c.known.Before; b != nil && c.tree.Size() == b.Size {
		c.Begins = c.tree.Root() == b.Root
	}
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
func (c *checker) finish() {
	if c.end == nil {
		c.wrong("the export has no end: its head is missing")
		return
	}
	if len(c.known.Keys) > 0 && !slices.Contains(c.known.Keys, c.end.Key) {
		c.wrong("it is signed with the key %.120s, which is none of those that you named", c.end.Key)
		return
	}
	h, err := Open(c.end.Head, c.end.Key)
	if err != nil {
		c.wrong("the head: %v", err)
		return
	}
	c.Head, c.Signed, c.Name, c.Size, c.Key = h, *c.end, h.Name, h.Size, c.end.Key
	switch {
	case c.broken:
	case h.Size != c.tree.Size():
		c.wrong("the head is over %d entries, the export has %d", h.Size, c.tree.Size())
	case h.Root != c.tree.Root():
		c.wrong("the entries are not those that were signed: at least one was changed")
	case c.known.Before != nil && c.known.Before.Name != h.Name:
		c.wrong("it is the ledger of %s, the head that was kept is of %s", h.Name, c.known.Before.Name)
	case c.known.Before != nil && c.known.Before.Size > h.Size:
		c.wrong("the ledger had %d entries when the head was kept, now it has %d", c.known.Before.Size, h.Size)
	case c.known.Before != nil && !c.Begins && !c.jumped:
		c.wrong("the first %d entries are not those of the head that was kept", c.known.Before.Size)
	case c.LeftOut == 0 && c.told != c.Deleted:
		c.wrong("%d entries are gone, the ledger tells of %d that were deleted by policy", c.Deleted, c.told)
	}
}

// CSVHead are the columns of WriteCSV.
var CSVHead = []string{"n", "at", "kind", "call", "app", "tenant", "chain", "thread", "claimed_at", "answered_at", "node", "partition", "reason",
	"by", "from", "action", "subject", "status", "count", "first", "last", "total"}

// WriteCSV writes an entry as a row under CSVHead. A text that a spreadsheet would take
// for a formula gets a ' in front.
func WriteCSV(w *csv.Writer, e Entry) error {
	row := []string{strconv.FormatUint(e.N, 10), moment(e.At), string(e.Kind), e.Call, e.App, e.Tenant, e.Chain, e.Thread, moment(e.ClaimedAt), moment(e.AnsweredAt),
		e.Node, number(uint64(e.Partition)), e.Reason, e.By, e.From, e.Action, e.Subject, number(uint64(e.Status)), number(e.Count), moment(e.First), moment(e.Last), number(e.Total)}
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

// ReadEnd reads a signed head that was kept, as Line writes it. The error is ErrForged or ErrNoEntry.
func ReadEnd(line []byte) (Head, error) {
	var end End
	if err := exactly(bytes.TrimSuffix(line, []byte("\n")), &end); err != nil {
		return Head{}, err
	}
	return Open(end.Head, end.Key)
}
