package ownership

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// one is a single call in a single partition, with everything that can befall it:
// the rules of the table in their smallest form. The store's own model test holds
// the table to the same rules in full.
type one struct {
	part  Partition
	state CallState
	pin   bool
	app   AppID
	epoch Epoch // of the call's record
}

const theApp AppID = "app"

// standing returns who acts for the call.
func (o *one) standing() Standing { return o.part.Stands(o.state, o.pin, o.app, o.epoch) }

// acts reports whether a node may act for the call at an epoch, as its fence asks.
func (o *one) acts(n NodeID, e Epoch) bool {
	at := o.standing()
	return at.State != CallEnded && at.Owner == n && at.Epoch == e
}

func (o *one) reservation() *Reservation {
	for i := range o.part.Reserved {
		if o.part.Reserved[i].Epoch == o.epoch {
			return &o.part.Reserved[i]
		}
	}
	return nil
}

// hands gives the partition to another node; the call's record stays as it is.
func (o *one) hands(to NodeID, final bool, lapsed ...AppID) {
	if o.state == CallAnswered && o.pin && o.epoch == o.part.Epoch {
		o.part.Reserved = append(o.part.Reserved, Reservation{Node: o.part.Owner, Epoch: o.part.Epoch, Lapsed: lapsed, Final: final})
	}
	o.part.Owner = to
	o.part.Epoch++
}

// TestNoTwoActForOneCall draws any order of answers, failovers, lapses, returns,
// take-ups, removals and ends, and holds the rules to what must always hold of the
// one call: at most one node acts, and at one epoch; the epochs of its record and of
// its partition never fall; what was taken up is not given back; an end stays an
// end; a node acts for a call of a partition that went to another only for what it
// had itself answered, and only while it is reserved for it.
func TestNoTwoActForOneCall(t *testing.T) {
	nodes := []NodeID{"a", "b", "c"}
	rapid.Check(t, func(t *rapid.T) {
		o := &one{
			part: Partition{ID: 1, Owner: "a", Epoch: FirstEpoch}, state: CallClaimed, app: theApp, epoch: FirstEpoch,
			pin: rapid.Bool().Draw(t, "pinned"),
		}
		owners := map[Epoch]NodeID{FirstEpoch: "a"} // who had the partition at which epoch
		takenUp := false
		for step := range rapid.IntRange(1, 40).Draw(t, "steps") {
			before := *o
			what := rapid.SampledFrom([]string{"answer", "late answer", "failover", "failover", "no wait", "remove", "move", "lapse", "other app", "reclaim", "take up", "release", "told"}).Draw(t, "act")
			someone := rapid.SampledFrom(nodes).Draw(t, "node")
			switch at := o.standing(); what {
			case "answer", "late answer": // a fact: at an epoch that the call has had
				e := o.part.Epoch
				if what == "late answer" {
					e = Epoch(rapid.IntRange(int(o.epoch), int(o.part.Epoch)).Draw(t, "epoch"))
				}
				switch {
				case o.state != CallClaimed:
				case o.pin && e < o.part.Epoch: // its owner now may act until it knows: nobody gets it back
					o.state, o.epoch, takenUp = CallOrphaned, o.part.Epoch, true
				default:
					o.state, o.epoch = CallAnswered, e
				}
			case "failover", "no wait", "remove":
				if someone != o.part.Owner {
					var lapsed []AppID
					if what == "no wait" {
						lapsed = []AppID{AllApps}
					}
					o.hands(someone, what == "remove", lapsed...)
					owners[o.part.Epoch] = someone
				}
			case "move":
				held := o.state == CallAnswered && o.pin && o.epoch == o.part.Epoch
				if someone != o.part.Owner && !held {
					o.hands(someone, false)
					owners[o.part.Epoch] = someone
				}
			case "lapse", "other app":
				app := theApp
				if what == "other app" {
					app = "other"
				}
				o.eachOf(someone, func(r *Reservation) { r.Lapsed = append([]AppID{app}, r.Lapsed...) })
			case "reclaim":
				o.eachOf(someone, func(r *Reservation) {
					if !r.Final {
						r.Lapsed = nil
					}
				})
			case "take up":
				if someone == at.Owner && at.State == CallOrphaned {
					o.state, o.epoch, takenUp = CallOrphaned, at.Epoch, true
				}
			case "release":
				if e := Epoch(rapid.IntRange(1, int(o.part.Epoch)).Draw(t, "epoch")); o.acts(owners[e], e) {
					o.state = CallEnded
				}
			case "told":
				o.state = CallEnded
			}
			o.check(t, fmt.Sprintf("step %d, %s of %s", step, what, someone), &before, owners, takenUp)
		}
	})
}

func (o *one) eachOf(n NodeID, change func(*Reservation)) {
	reserved := append([]Reservation(nil), o.part.Reserved...)
	for i := range reserved {
		if reserved[i].Node == n {
			change(&reserved[i])
		}
	}
	o.part.Reserved = reserved
}

func (o *one) check(t *rapid.T, when string, before *one, owners map[Epoch]NodeID, takenUp bool) {
	at := o.standing()
	acting := 0
	for e, n := range owners {
		if !o.acts(n, e) {
			continue
		}
		acting++
		former := e < o.part.Epoch
		if r := o.reservation(); former && (at.State != CallAnswered || !o.pin || e != o.epoch || r == nil || r.Node != n || r.HasLapsed(o.app)) {
			t.Fatalf("%s: node %s acts at epoch %d for a call that is not reserved for it: %+v, %+v", when, n, e, o, at)
		}
	}
	if want := 1; at.State == CallEnded && acting != 0 || at.State != CallEnded && acting != want {
		t.Fatalf("%s: %d nodes act for the call: %+v, %+v", when, acting, o, at)
	}
	switch {
	case o.epoch < before.epoch || o.part.Epoch < before.part.Epoch || at.Epoch < before.epoch:
		t.Fatalf("%s: an epoch fell from %+v to %+v", when, before, o)
	case before.state == CallEnded && at.State != CallEnded:
		t.Fatalf("%s: an ended call lives: %+v", when, o)
	case takenUp && at.State != CallEnded && (at.State != CallOrphaned || at.Owner != o.part.Owner):
		t.Fatalf("%s: a call that was taken up was given back: %+v", when, at)
	case before.part.Epoch == o.part.Epoch && before.state == CallClaimed && at.State != CallEnded && at.Owner != o.part.Owner:
		t.Fatalf("%s: a call that rang with %s was taken from it within its lease: %+v", when, o.part.Owner, at)
	case before.state != CallClaimed && at.State == CallClaimed:
		t.Fatalf("%s: an answered call rings again: %+v", when, o)
	}
}

// TestStandsIsTotal walks every small combination of a call's record and its
// partition's: there is always one answer, and it is one of a node that has, or had,
// the partition at the epoch that is named.
func TestStandsIsTotal(t *testing.T) {
	lapses := [][]AppID{nil, {theApp}, {AllApps}, {"other"}}
	for _, state := range []CallState{CallClaimed, CallAnswered, CallOrphaned, CallEnded} {
		for _, pinned := range []bool{false, true} {
			for epoch := Epoch(1); epoch <= 3; epoch++ {
				for _, lapsed := range lapses {
					for _, final := range []bool{false, true} {
						p := Partition{ID: 1, Owner: "c", Epoch: 3, Reserved: []Reservation{
							{Node: "a", Epoch: 1, Lapsed: lapsed, Final: final},
						}}
						got := p.Stands(state, pinned, theApp, epoch)
						waits := !final && (lapsed == nil || lapsed[0] == "other")
						want := Standing{"c", 3, state}
						if state == CallAnswered && pinned && epoch < 3 {
							if want.State = CallOrphaned; epoch == 1 && waits {
								want = Standing{"a", 1, CallAnswered}
							}
						}
						if got != want {
							t.Errorf("%s, pinned %v, epoch %d, lapsed %v, final %v: %+v, want %+v", state, pinned, epoch, lapsed, final, got, want)
						}
					}
				}
			}
		}
	}
}
