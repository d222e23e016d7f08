package record

import (
	"fmt"
	"time"

	"tandem/ownership"
)

// acts returns one act of each kind, with every field set. Those of store/testdata/fuzz/FuzzApply
// are these, as software of today writes them.
func acts() []ownership.Act {
	n := node()
	n.Process, n.GoneAt = "process", at(3)
	n.PublicURL, n.AdminURL, n.State, n.JoinedAt, n.DrainBy = "https://a.example", "https://a.example:7401", ownership.NodeDraining, at(1), at(2)
	fitness := map[ownership.NodeID]ownership.Fitness{
		"a": {Leased: true, Bot: true, Load: 0.25, Room: 7, Recent: 3}, "b": {},
		"c": {Leased: true, Apps: map[ownership.AppID]ownership.AppFitness{"app": {Bot: true, Load: 0.5, Room: 9}, "bot": {}}},
		"d": {Apps: map[ownership.AppID]ownership.AppFitness{}},
	}
	return []ownership.Act{
		ownership.Claims{At: at(3), Fitness: fitness, Claims: []ownership.Claim{{
			Call: callID(1), RawCall: "A-B", App: "app", Tenant: "t", Groups: []ownership.GroupKey{"chain:1", "thread:2"},
			Paired: true, Pinned: true, Answered: true, Observed: "u", Thread: "19:x", Organizer: "o", Modalities: []string{"audio", "video"},
			Deadline: at(4), Received: at(5), Via: "b", Pin: ownership.Pin{Node: "a", Zone: "z", Version: "1"},
		}, {Call: callID(2)}}},
		ownership.Answered{At: at(1), Call: callID(1), Epoch: 2, Thread: "19:x", Organizer: "o"},
		ownership.Seen{At: at(1), Calls: []ownership.CallID{callID(1), callID(2)}},
		ownership.Release{At: at(1), Call: callID(1), Epoch: 1 << 60, Why: "over", Told: true, App: "app", Fate: ownership.FateLate},
		ownership.Forget{At: at(1), Before: at(0)},
		ownership.Join{At: at(1), Node: n, Partitions: 8, Ancestors: []string{"one", "two"}},
		ownership.Drain{At: at(1), Node: "a", Until: at(2)},
		ownership.Undrain{At: at(1), Node: "a"},
		ownership.Depart{At: at(1), Node: "a", Fitness: fitness},
		ownership.Failover{At: at(1), Node: "a", Fitness: fitness, Lapsed: []ownership.AppID{"app"}},
		ownership.Move{At: at(1), Partition: 3, Epoch: 4, To: "b"},
		ownership.SetFormat{At: at(1), Format: 1},
		ownership.GrantToken{At: at(1), Token: ownership.DoorToken{
			Name: "ci", Hash: [32]byte{1, 2}, Roles: []string{"read", "join"}, Once: true, MadeBy: "alice",
			MadeAt: at(1), Expires: at(90), UsedFor: "10.0.0.9:8471", UsedAt: at(2),
		}},
		ownership.RevokeToken{At: at(1), Name: "ci"},
		ownership.UseToken{At: at(1), Name: "ci", Hash: [32]byte{1, 2}, For: "10.0.0.9:8471", Done: true},
		ownership.TakeUp{At: at(1), Call: callID(1), Epoch: 2},
		ownership.Records{At: at(1), Acts: []ownership.Act{
			ownership.Answered{Call: callID(1), Epoch: 1, Thread: "19:x", Organizer: "o"},
			ownership.Release{Call: callID(2), Epoch: 1, Why: "over", Told: true, Fate: ownership.FateLost},
			ownership.Seen{Calls: []ownership.CallID{callID(3)}},
			ownership.TakeUp{Call: callID(4), Epoch: 3},
		}},
		ownership.Found{At: at(1), Identity: "random"},
		ownership.SetLease{At: at(1), Length: 3 * time.Second},
		ownership.Lapse{At: at(1), Node: "a", Apps: []ownership.AppID{"app", "bot"}},
		ownership.Reclaim{At: at(1), Node: "a"},
		ownership.SetRules{At: at(1), Expect: 6, Taken: true, Rules: ownership.Rules{
			Number: 7, Digest: ownership.RulesDigest("rules: []"), Text: "rules: []", Origin: "amer", By: "alice", At: at(2), Note: "none",
		}},
		ownership.TellRules{At: at(1), Text: "region amer has others", Agree: true},
		ownership.Note{At: at(1), By: "alice", From: "10.0.0.9:1234", Action: "drain-node", Subject: "/v1/nodes/a/drain", Status: 204, Detail: "until noon"},
		ownership.SetKeep{At: at(1), Keep: ownership.Keep{Days: 90, EndedDays: 7}},
		ownership.SetDeposit{At: at(1), Name: "acme/locks/a", Value: []byte{1, 2, 3}, Expect: ownership.AnyDeposit, Text: "the certificate came"},
		ownership.SetRollout{At: at(1), Auto: true, Expect: 3, Rollout: ownership.Rollout{
			App: "app", Version: "2.4.1", Share: 100, Steps: true, Halted: true, Reason: "bad", By: "alice", At: at(2), Number: 4,
			Base: ownership.VersionTally{Taken: 5, Well: 1, Bad: 2, Short: 1, Other: 1}, Ended: 5,
		}},
		ownership.EndRollout{At: at(1), App: "app", Version: "2.4.1", By: "alice"},
		ownership.TellRollout{At: at(1), App: "app", Text: "it is alone"},
	}
}

func node() ownership.Node {
	return ownership.Node{
		ID: "a", Region: "emea", Zone: "z-a", ClusterAddr: "a.example:7400",
		Capacity: 1000, Incarnation: "inc-a", Version: "1.0", Format: ownership.FormatReservations, Voter: true,
	}
}

// at returns a time some seconds into the test.
func at(seconds int) time.Time {
	return time.Date(2026, 5, 4, 10, 0, seconds, 0, time.UTC)
}

// callID makes a GUID-like id.
func callID(n int) ownership.CallID { return ownership.CallID(fmt.Sprintf("%032x", n)) }
