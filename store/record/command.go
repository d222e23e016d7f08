package record

import (
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/proto"

	"tandem/ownership"
	"tandem/store/tablepb"
)

// CommandFormat is the newest command format that this software reads and
// writes. A region writes the format that its table holds (see SetFormat), so
// that a node of an older version never meets what it cannot read.
const CommandFormat uint32 = ownership.FormatDeposits

// Errors of reading a command. Each of them stops the node: an act that one
// node applies and another skips would let the two tables drift apart.
var (
	// ErrNewerFormat: the command was written by newer software.
	ErrNewerFormat = errors.New("the command has a newer format than this software reads")
	// ErrUnknownAct: the command holds an act or a field that is not known here.
	ErrUnknownAct = errors.New("the command holds something this software does not know")
	// ErrBadCommand: the bytes are no command.
	ErrBadCommand = errors.New("the bytes are no command")
)

// deterministic returns equal bytes for equal messages, within one version of the
// protobuf library.
var deterministic = proto.MarshalOptions{Deterministic: true}

// EncodeAct writes an act as the data of a raft log entry, in the given command
// format. What an act tells beyond that format is left out, where the act means
// what it meant before without it: facts of an answer, Fitness.Apps, Release.Told,
// Join.Ancestors and the like. It fails for an act that the format has not, for a
// format that this software does not write, and for a time outside the years 1678
// to 2262, which is what 64 bits of nanoseconds hold.
func EncodeAct(act ownership.Act, format uint32) ([]byte, error) {
	if format == 0 || format > CommandFormat {
		return nil, fmt.Errorf("writing a command: format %d is asked for, this software writes 1 to %d", format, CommandFormat)
	}
	if since := Since(act); since > format {
		return nil, fmt.Errorf("%s needs format %d, and the region writes %d: upgrade all its nodes first", ownership.Doing(act), since, format)
	}
	var w timeWriter
	cmd := &tablepb.Command{Format: format}
	if !wrapAct(cmd, act, &w) {
		return nil, fmt.Errorf("writing a command: %T is no act of the table", act)
	}
	if w.bad != nil {
		return nil, fmt.Errorf("writing a command: %w", w.bad)
	}
	b, err := deterministic.Marshal(cmd)
	if err != nil {
		return nil, fmt.Errorf("writing a command: %w", err)
	}
	return b, nil
}

// DecodeAct reads the data of a raft log entry. The error is ErrNewerFormat,
// ErrUnknownAct or ErrBadCommand; nothing is ever skipped.
func DecodeAct(b []byte) (ownership.Act, error) {
	var cmd tablepb.Command
	if err := proto.Unmarshal(b, &cmd); err != nil {
		return nil, fmt.Errorf("reading a command of %d bytes: %w: %w", len(b), ErrBadCommand, err)
	}
	switch {
	case cmd.GetFormat() == 0:
		return nil, fmt.Errorf("reading a command of %d bytes: %w: it names no format", len(b), ErrBadCommand)
	case cmd.GetFormat() > CommandFormat:
		return nil, fmt.Errorf("reading a command of format %d: %w (up to %d)", cmd.GetFormat(), ErrNewerFormat, CommandFormat)
	case cmd.GetAct() == nil:
		return nil, fmt.Errorf("reading a command: %w: its act", ErrUnknownAct)
	}
	r := reader{}
	act := unwrapAct(known(&r, &cmd), &r)
	if r.bad != nil {
		return nil, fmt.Errorf("reading a command: %w", r.bad)
	}
	if since := Needs(act); since > cmd.GetFormat() {
		return nil, fmt.Errorf("reading a command of format %d: %w: it has no such %T before format %d", cmd.GetFormat(), ErrBadCommand, act, since)
	}
	return act, nil
}

// timeWriter turns times into nanoseconds and keeps the first failure.
type timeWriter struct{ bad error }

var (
	minTime = time.Unix(0, math.MinInt64)
	maxTime = time.Unix(0, math.MaxInt64)
)

func (w *timeWriter) ns(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	if t.Before(minTime) || t.After(maxTime) {
		if w.bad == nil {
			w.bad = fmt.Errorf("the time %s is outside the years 1678 to 2262", t.Format(time.RFC3339))
		}
		return 0
	}
	return t.UnixNano()
}

// Time reads a time of nanoseconds; 0 is the zero time.
func Time(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// reader checks messages on their way in and keeps the first failure.
type reader struct{ bad error }

// known refuses a message with a field that this software does not know.
func known[M proto.Message](r *reader, m M) M {
	if r.bad == nil && len(m.ProtoReflect().GetUnknown()) > 0 {
		r.bad = fmt.Errorf("%w: a field of %s", ErrUnknownAct, m.ProtoReflect().Descriptor().Name())
	}
	return m
}

// count reads a number that must fit an int of 32 bits and not be negative.
func (r *reader) count(n int64, what string) int {
	if n < 0 || n > math.MaxInt32 {
		if r.bad == nil {
			r.bad = fmt.Errorf("%w: %s is %d", ErrBadCommand, what, n)
		}
		return 0
	}
	return int(n)
}

// clampCount keeps a count inside what a command may hold.
func clampCount(n int) int { return min(max(n, 0), math.MaxInt32) }
