package ownership

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

const chain = GroupKey("chain:7c9e")

// threeNodes is a region with 8 partitions a node: a has 1 to 8 and carries 10
// calls, b has 9 to 16 with 5, c has 17 to 24 with 20. Zones: a and b in east,
// c in west.
func threeNodes() *smallTable {
	t := newTable().add("a", "east", 50, 8).add("b", "east", 50, 8).add("c", "west", 50, 8)
	return t.fill(1, 10).fill(9, 5).fill(17, 20)
}

func leg(id CallID, p PartitionID, change ...func(*Call)) Call {
	c := Call{ID: id, App: "app", Partition: p, Epoch: 1, Groups: []GroupKey{chain}, State: CallClaimed, Deadline: noon.Add(15 * time.Second)}
	for _, f := range change {
		f(&c)
	}
	return c
}

// placeCase is a claim in a region of three nodes, and where it goes.
type placeCase struct {
	name   string
	table  func(*smallTable)
	claim  Claim
	at     time.Time // zero: noon
	owner  NodeID
	part   PartitionID // 0: any
	epoch  Epoch       // 0: 1
	reason Reason
	full   bool
	format uint32 // 0: the same in each
}

func TestPlace(t *testing.T) {
	claim := func(change ...func(*Claim)) Claim {
		c := Claim{Call: "new", App: "app", Deadline: noon.Add(15 * time.Second)}
		for _, f := range change {
			f(&c)
		}
		return c
	}
	inChain := func(c *Claim) { c.Groups = []GroupKey{chain} }
	recording := func(c *Claim) { c.Groups, c.Observed = []GroupKey{chain}, "person" }
	paired := func(c *Claim) { c.Groups, c.Paired = []GroupKey{chain}, true }
	pin := func(p Pin) func(*Claim) { return func(c *Claim) { c.Pin = p } }
	answered := func(c *Call) { c.State = CallAnswered }
	pairedLeg := func(c *Call) { c.Paired, c.App = true, "other app" }

	tests := []placeCase{
		{
			name: "least loaded, in its emptiest partition", claim: claim(),
			owner: "b", part: 10, reason: ReasonLeastLoaded,
		},
		{
			name: "load counts against capacity", claim: claim(),
			table: func(t *smallTable) { t.node("c").Capacity = 1000 },
			owner: "c", reason: ReasonLeastLoaded,
		},
		{
			name: "what the bot reports counts when it is more than the table knows", claim: claim(),
			table: func(t *smallTable) { t.refit("b", func(f *Fitness) { f.Load = 0.5 }) },
			owner: "a", reason: ReasonLeastLoaded,
		},
		{
			name: "calls placed a moment ago count twice", claim: claim(),
			table: func(t *smallTable) { t.refit("b", func(f *Fitness) { f.Recent = 6 }) },
			owner: "a", reason: ReasonLeastLoaded,
		},
		{
			name: "the bot's own limit counts when it is lower", claim: claim(),
			table: func(t *smallTable) { t.refit("b", func(f *Fitness) { f.Room = 10 }) },
			owner: "a", reason: ReasonLeastLoaded,
		},
		{
			name: "a known call keeps its partition and hears of the present owner", claim: claim(),
			table: func(t *smallTable) {
				t.put(Call{ID: "new", App: "app", Partition: 3, Epoch: 1})
				t.parts[3].Owner, t.parts[3].Epoch = "c", 2
			},
			owner: "c", part: 3, epoch: 2, reason: ReasonKnown,
		},
		{
			name: "a known call beats a pin, a full node and a group", claim: claim(inChain, pin(Pin{Node: "b"})),
			table: func(t *smallTable) {
				t.put(leg("other", 17, answered))
				t.put(Call{ID: "new", App: "app", Partition: 3, Epoch: 1})
				t.node("a").Capacity, t.node("a").State = 1, NodeDraining
			},
			owner: "a", part: 3, reason: ReasonKnown,
		},
		{
			name: "an orphaned call is known", claim: claim(),
			table: func(t *smallTable) { t.put(Call{ID: "new", App: "app", Partition: 3, Epoch: 1, State: CallOrphaned}) },
			owner: "a", part: 3, reason: ReasonKnown,
		},
		{
			name: "a late repeat of an ended call", claim: claim(),
			table: func(t *smallTable) { t.put(Call{ID: "new", App: "app", Partition: 3, Epoch: 1, State: CallEnded}) },
			owner: "a", part: 3, reason: ReasonEnded,
		},
		{
			name: "a pin to a node", claim: claim(pin(Pin{Node: "c"})),
			owner: "c", reason: ReasonPinned,
		},
		{
			name: "a pin to a zone takes the least loaded there", claim: claim(pin(Pin{Zone: "east"})),
			owner: "b", reason: ReasonPinned,
		},
		{
			name: "a pin to a version", claim: claim(pin(Pin{Version: "2.0"})),
			table: func(t *smallTable) { t.node("c").Version = "2.0" },
			owner: "c", reason: ReasonPinned,
		},
		{
			name: "a pin to a zone keeps the group together in it", claim: claim(inChain, pin(Pin{Zone: "east"})),
			table: func(t *smallTable) { t.put(leg("other", 3, answered)) },
			owner: "a", part: 3, reason: ReasonPinned,
		},
		{
			name: "a pin beats the group", claim: claim(inChain, pin(Pin{Node: "c"})),
			table: func(t *smallTable) { t.put(leg("other", 3, answered)) },
			owner: "c", reason: ReasonPinned,
		},
		{
			name: "a pin does not put paired legs on one node", claim: claim(paired, pin(Pin{Zone: "east"})),
			table: func(t *smallTable) { t.put(leg("other", 9, pairedLeg)) },
			owner: "a", reason: ReasonPinned,
		},
		{
			name: "a pin to a node that is draining loses no call", claim: claim(pin(Pin{Node: "c"})),
			table: func(t *smallTable) { t.node("c").State = NodeDraining },
			owner: "b", reason: ReasonLeastLoaded,
		},
		{
			name: "an outgoing call stays where its bot made it", claim: claim(pin(Pin{Node: "c"}), func(c *Claim) { c.Answered = true }),
			table: func(t *smallTable) {
				t.node("c").State, t.node("c").Capacity = NodeDraining, 1
				t.fit["c"] = Fitness{}
			},
			owner: "c", reason: ReasonPinned,
		},
		{
			name: "an outgoing call of a gone node goes elsewhere", claim: claim(pin(Pin{Node: "c"}), func(c *Claim) { c.Answered = true }),
			table: func(t *smallTable) { t.node("c").State = NodeGone },
			owner: "b", reason: ReasonLeastLoaded,
		},
		{
			name: "together with a live call of the chain", claim: claim(inChain),
			table: func(t *smallTable) { t.put(leg("other", 18, answered)) },
			owner: "c", part: 18, reason: ReasonTogether,
		},
		{
			name: "together even on a draining node", claim: claim(inChain),
			table: func(t *smallTable) {
				t.put(leg("other", 18, answered))
				t.node("c").State = NodeDraining
			},
			owner: "c", part: 18, reason: ReasonTogether,
		},
		{
			name: "together even without a lease: failover moves the group", claim: claim(inChain),
			table: func(t *smallTable) {
				t.put(leg("other", 18, answered))
				t.fit["c"] = Fitness{}
			},
			owner: "c", part: 18, reason: ReasonTogether,
		},
		{
			name: "not together on a node with a sick bot", claim: claim(inChain),
			table: func(t *smallTable) {
				t.put(leg("other", 18, answered))
				t.refit("c", func(f *Fitness) { f.Bot = false })
			},
			owner: "b", reason: ReasonLeastLoaded,
		},
		{
			name: "not together on a full node", claim: claim(inChain),
			table: func(t *smallTable) {
				t.put(leg("other", 18, answered))
				t.node("c").Capacity = 21
			},
			owner: "b", reason: ReasonLeastLoaded,
		},
		{
			name: "not together on a gone node", claim: claim(inChain),
			table: func(t *smallTable) {
				t.put(leg("other", 18, answered))
				t.node("c").State = NodeGone
			},
			owner: "b", reason: ReasonLeastLoaded,
		},
		{
			name: "a group that spilled over goes on where it spilled to", claim: claim(inChain),
			table: func(t *smallTable) {
				t.put(leg("first", 18, answered))
				t.put(leg("second", 2, answered))
				t.node("c").Capacity = 21
			},
			owner: "a", part: 2, reason: ReasonTogether,
		},
		{
			name: "the oldest call of a group decides", claim: claim(inChain), format: FormatTokens,
			table: func(t *smallTable) {
				t.put(leg("first", 18, answered))
				t.put(leg("second", 2, answered))
			},
			owner: "c", part: 18, reason: ReasonTogether,
		},
		{
			name: "where most calls of a group are decides", claim: claim(inChain), format: FormatReservations,
			table: func(t *smallTable) {
				t.put(leg("first", 2, answered))
				t.put(leg("second", 18, answered))
				t.put(leg("third", 18, answered, func(c *Call) { c.Pinned = true }))
			},
			owner: "c", part: 18, reason: ReasonTogether,
		},
		{
			name: "of two places with as many the lower partition decides", claim: claim(inChain), format: FormatReservations,
			table: func(t *smallTable) {
				t.put(leg("first", 18, answered))
				t.put(leg("second", 2, answered))
			},
			owner: "a", part: 2, reason: ReasonTogether,
		},
		{
			name:  "a chain binds more than a thread, whatever the order",
			claim: claim(func(c *Claim) { c.Groups = []GroupKey{TransferorKey("t"), ThreadKey("t"), chain} }),
			table: func(t *smallTable) {
				t.put(Call{ID: "x", Partition: 1, Groups: []GroupKey{TransferorKey("t")}})
				t.put(Call{ID: "y", Partition: 2, Groups: []GroupKey{ThreadKey("t")}})
				t.put(leg("z", 18, answered))
			},
			owner: "c", part: 18, reason: ReasonTogether,
		},
		{
			name:  "a thread alone binds",
			claim: claim(func(c *Claim) { c.Groups = []GroupKey{ThreadKey("t")} }),
			table: func(t *smallTable) { t.put(Call{ID: "y", Partition: 2, Groups: []GroupKey{ThreadKey("t")}}) },
			owner: "a", part: 2, reason: ReasonTogether,
		},
		{
			name: "an ended call binds nobody", claim: claim(inChain),
			table: func(t *smallTable) { t.put(leg("other", 18, func(c *Call) { c.State = CallEnded })) },
			owner: "b", reason: ReasonLeastLoaded,
		},
		{
			name: "a paired leg keeps off the node, and off the zone if it can", claim: claim(paired),
			table: func(t *smallTable) { t.put(leg("other", 9, pairedLeg)) },
			owner: "c", reason: ReasonApart,
		},
		{
			name: "a paired leg stays in the zone when no other can take it", claim: claim(paired),
			table: func(t *smallTable) {
				t.put(leg("other", 9, pairedLeg))
				t.node("c").State = NodeDraining
			},
			owner: "a", reason: ReasonApart,
		},
		{
			name: "a paired leg is refused rather than put on the other's node", claim: claim(paired),
			table: func(t *smallTable) {
				t.put(leg("other", 9, pairedLeg))
				t.node("a").State, t.node("c").State = NodeDraining, NodeDraining
			},
			full: true, reason: ReasonFull,
		},
		{
			name: "paired legs of different observed people need not part", claim: claim(paired, func(c *Claim) { c.Observed = "ann" }),
			table: func(t *smallTable) { t.put(leg("other", 17, pairedLeg, func(c *Call) { c.Observed = "bob" })) },
			owner: "c", part: 17, reason: ReasonTogether,
		},
		{
			name: "an unmarked invite keeps off the leg that is marked", claim: claim(inChain, func(c *Claim) { c.Observed = "ann" }),
			table: func(t *smallTable) { t.put(leg("other", 9, pairedLeg, func(c *Call) { c.Observed = "ann" })) },
			owner: "c", reason: ReasonApart,
		},
		{
			name: "two calls of one chain that observe nobody go together, though the first still rings", claim: claim(inChain),
			table: func(t *smallTable) { t.put(leg("first", 18)) },
			owner: "c", part: 18, reason: ReasonTogether,
		},
		{
			name: "a second invite to the same app while the first rings", claim: claim(recording),
			table: func(t *smallTable) { t.put(leg("first", 9, func(c *Call) { c.Observed = "person" })) },
			owner: "c", reason: ReasonApart,
		},
		{
			name: "a second invite at the first one's last moment", claim: claim(recording), at: noon.Add(15 * time.Second),
			table: func(t *smallTable) { t.put(leg("first", 9, func(c *Call) { c.Observed = "person" })) },
			owner: "c", reason: ReasonApart,
		},
		{
			name: "a retry a moment after the first one's deadline", claim: claim(recording), at: noon.Add(14*time.Second + 500*time.Millisecond), format: FormatReservations,
			table: func(t *smallTable) {
				t.put(leg("first", 18, func(c *Call) { c.Observed, c.Deadline = "person", noon.Add(14*time.Second) }))
				t.put(leg("second", 18, func(c *Call) { c.Observed, c.Deadline = "person", noon.Add(14*time.Second+1) }))
			},
			owner: "b", reason: ReasonApart,
		},
		{
			name: "a retry after the first one's deadline goes together", claim: claim(recording), at: noon.Add(15*time.Second + 1),
			table: func(t *smallTable) { t.put(leg("first", 18, func(c *Call) { c.Observed = "person" })) },
			owner: "c", part: 18, reason: ReasonTogether,
		},
		{
			name: "a second invite while the first rings, in a region of one node, is not refused", claim: claim(recording),
			table: func(t *smallTable) {
				t.put(leg("first", 9, func(c *Call) { c.Observed = "person" }))
				t.node("a").State, t.node("c").State = NodeDraining, NodeDraining
			},
			owner: "b", reason: ReasonLeastLoaded,
		},
		{
			name: "an invite to another app of the chain goes together", claim: claim(inChain),
			table: func(t *smallTable) { t.put(leg("first", 18, func(c *Call) { c.App = "other app" })) },
			owner: "c", part: 18, reason: ReasonTogether,
		},
		{
			name: "calls of one thread that ring at once go together", claim: claim(func(c *Claim) { c.Groups = []GroupKey{ThreadKey("t")} }),
			table: func(t *smallTable) {
				t.put(leg("first", 18, func(c *Call) { c.Groups = []GroupKey{ThreadKey("t")} }))
			},
			owner: "c", part: 18, reason: ReasonTogether,
		},
		{
			name: "nobody can", claim: claim(),
			table: func(t *smallTable) {
				t.node("a").State = NodeDraining
				t.refit("b", func(f *Fitness) { f.Bot = false })
				t.node("c").Capacity = 20
			},
			full: true, reason: ReasonFull,
		},
		{
			name: "a region without nodes", claim: claim(),
			table: func(t *smallTable) { *t = *newTable() },
			full:  true, reason: ReasonFull,
		},
	}
	for _, tt := range tests {
		for _, format := range []uint32{FormatTokens, FormatReservations} {
			if tt.format != 0 && tt.format != format {
				continue
			}
			t.Run(fmt.Sprintf("%s/format=%d", tt.name, format), func(t *testing.T) {
				table := threeNodes()
				table.format = format
				if tt.table != nil {
					tt.table(table)
				}
				tt.check(t, table)
			})
		}
	}
}

// check places the claim of a case.
func (tt *placeCase) check(t *testing.T, table *smallTable) {
	t.Helper()
	at := tt.at
	if at.IsZero() {
		at = noon
	}
	got, err := Place(table, tt.claim, at, table.fit)
	if tt.full != errors.Is(err, ErrFull) || !tt.full && err != nil {
		t.Fatalf("error is %v, full should be %v", err, tt.full)
	}
	if got.Owner != tt.owner || got.Reason != tt.reason {
		t.Errorf("placed on %q for %q, want %q for %q; candidates %+v", got.Owner, got.Reason, tt.owner, tt.reason, got.Candidates)
	}
	if tt.part != 0 && got.Partition != tt.part {
		t.Errorf("partition is %d, want %d", got.Partition, tt.part)
	}
	if want := max(tt.epoch, 1); !tt.full && got.Epoch != want {
		t.Errorf("epoch is %d, want %d", got.Epoch, want)
	}
}
