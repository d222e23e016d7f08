package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/ownership"
)

func TestRelayOnce(t *testing.T) {
	r := newRegion(t, nil)
	nodes := r.form(3)
	a, b, c := nodes[0], nodes[1], nodes[2]
	sent := ownership.HandOver{
		Event: ownership.EventUpdate, Call: "c1", Partition: 3, Epoch: 2, MessageID: "m1",
		Header: http.Header{"Content-Type": {"application/json"}, "X-Two": {"1", "2"}}, Body: []byte("{\"x\":1}\n"),
	}
	var again error
	b.mu.Lock()
	b.relay = func(ctx context.Context, h ownership.HandOver) (ownership.Reply, error) {
		if diff := cmp.Diff(sent, h); diff != "" {
			t.Errorf("the hand-over changed on the way: %s", diff)
		}
		_, again = b.Relay(ctx, c.id, h)
		return ownership.Reply{Status: 202, Header: http.Header{"X": {"y"}}, Body: []byte("ok")}, nil
	}
	b.mu.Unlock()
	eventually(t, "a knows b", func() bool { _, ok := a.tb.Node(b.id); return ok })
	got, err := a.Relay(soon(t), b.id, sent)
	if err != nil || got.Status != 202 || string(got.Body) != "ok" || got.Header["X"][0] != "y" {
		t.Errorf("the relay gave %+v, %v", got, err)
	}
	if !errors.Is(again, ErrRelayed) {
		t.Errorf("a second relay of the same notification gave %v", again)
	}

	b.mu.Lock()
	b.relay = func(context.Context, ownership.HandOver) (ownership.Reply, error) {
		return ownership.Reply{}, fmt.Errorf("handing it to the bot: %w", ownership.ErrFenced)
	}
	b.mu.Unlock()
	if _, err := a.Relay(soon(t), b.id, sent); !errors.Is(err, ownership.ErrFenced) || errors.Is(err, ownership.ErrUnreachable) {
		t.Errorf("a fenced owner's refusal came over as %v", err)
	}
	if _, err := a.Relay(soon(t), "nobody", sent); !errors.Is(err, ownership.ErrUnknown) {
		t.Errorf("a relay to nobody gave %v", err)
	}
	if _, err := a.Relay(soon(t), a.id, sent); err == nil {
		t.Error("a relay to this node itself was taken")
	}
	large := sent
	large.Body = make([]byte, 8<<20)
	if _, err := a.Relay(soon(t), b.id, large); err == nil {
		t.Error("a hand-over over the limit was taken")
	}
	b.mu.Lock()
	b.relay = func(ctx context.Context, _ ownership.HandOver) (ownership.Reply, error) {
		<-ctx.Done()
		return ownership.Reply{}, ctx.Err()
	}
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(soon(t), 50*time.Millisecond)
	defer cancel()
	if _, err := a.Relay(ctx, b.id, sent); !errors.Is(err, ownership.ErrUnreachable) {
		t.Errorf("a bot that does not answer in time gave %v", err)
	}
	b.cut()
	if _, err := a.Relay(soon(t), b.id, sent); !errors.Is(err, ownership.ErrUnreachable) {
		t.Errorf("F35: a relay to a dead node gave %v", err)
	}
}

// fill sets every field that it can reach to something other than zero.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("s%d", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Float64:
		v.SetFloat(float64(*n))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			if v.Type().Elem().Kind() == reflect.Uint8 {
				v.Index(i).SetUint(uint64(i + 1))
			} else {
				fill(v.Index(i), n)
			}
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, val := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, n)
		fill(val, n)
		v.SetMapIndex(key, val)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(int64(*n), 5).UTC()))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	}
}

func TestWireKeepsEveryField(t *testing.T) {
	n := 0
	var h ownership.HandOver
	fill(reflect.ValueOf(&h).Elem(), &n)
	if diff := cmp.Diff(h, handOverFromWire(handOverToWire(h))); diff != "" {
		t.Errorf("HandOver: %s", diff)
	}
	var r ownership.Reply
	fill(reflect.ValueOf(&r).Elem(), &n)
	if diff := cmp.Diff(r, replyFromWire(replyToWire(r))); diff != "" {
		t.Errorf("Reply: %s", diff)
	}
	var p ownership.Placement
	fill(reflect.ValueOf(&p).Elem(), &n)
	if diff := cmp.Diff(p, placementFromWire(placementToWire(p))); diff != "" {
		t.Errorf("Placement: %s", diff)
	}
	if diff := cmp.Diff(ownership.HandOver{}, handOverFromWire(handOverToWire(ownership.HandOver{}))); diff != "" {
		t.Errorf("the empty HandOver: %s", diff)
	}
	o := &ownership.Outcome{
		Index: 7, Placements: []ownership.Placement{p, {}}, Errors: []error{nil, fmt.Errorf("claiming: %w", ownership.ErrFull)},
		Moves: []ownership.Reassignment{{Partition: 1, From: "a", To: "b", Epoch: 3}}, Err: fmt.Errorf("all: %w", ownership.ErrConflict),
	}
	got := outcomeFromWire(outcomeToWire(o))
	if got.Index != 7 || !cmp.Equal(got.Placements, o.Placements) || !cmp.Equal(got.Moves, o.Moves) {
		t.Errorf("Outcome: %+v", got)
	}
	if got.Errors[0] != nil || !errors.Is(got.Errors[1], ownership.ErrFull) || !errors.Is(got.Err, ownership.ErrConflict) || got.Err.Error() != o.Err.Error() {
		t.Errorf("the errors of an outcome: %v, %v", got.Errors, got.Err)
	}
}
