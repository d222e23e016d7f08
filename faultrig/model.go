package faultrig

import (
	"fmt"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"tandem/ownership"
)

// verb is what a claimant did.
type verb uint8

const (
	verbClaim   verb = iota + 1 // posted a first notification
	verbRead                    // read the call with consistency=linearizable
	verbRelease                 // ended the call
)

// said is what the answer told.
type said uint8

const (
	saidOwner   said = iota + 1 // the call has a place
	saidEnded                   // the call is over
	saidNothing                 // the table does not know the call
	saidTaken                   // the repeat was taken: the call is placed somewhere, or over
	saidUnknown                 // no answer, or a refusal that may have come too late
)

// asked is the input of one operation on one call.
type asked struct {
	verb verb
	call ownership.CallID
}

// told is the output of one operation.
type told struct {
	said  said
	part  ownership.PartitionID
	epoch ownership.Epoch // of reads: never falls
}

// held is the state of one call in the model.
type held struct {
	phase said // 0: never claimed, saidOwner, saidEnded
	part  ownership.PartitionID
	epoch ownership.Epoch
}

// step is the sequential rule of one call: a claim gives it a partition for
// ever, whoever claims again gets the same one, a linearizable read sees what
// was acknowledged before it, its epoch never falls, and what ended has ended. A
// repeated claim may be answered from a node's memory, which may not have heard
// of the end yet; that is promised harmless, not fresh.
func step(s held, in asked, out told) (bool, held) {
	agrees := s.part == 0 || out.part == s.part
	switch in.verb {
	case verbClaim:
		switch {
		case out.said == saidUnknown && s.phase == 0:
			return true, held{phase: saidOwner}
		case out.said == saidUnknown:
			return true, s
		case out.said == saidTaken && s.phase == 0:
			return true, held{phase: saidOwner}
		case out.said == saidTaken:
			return true, s
		case s.phase == saidEnded:
			return agrees, s
		}
		return agrees, held{saidOwner, out.part, s.epoch}
	case verbRelease:
		if out.said == saidNothing {
			return s.phase == 0, s
		}
		if s.phase == 0 {
			return out.said == saidUnknown, s
		}
		return true, held{saidEnded, s.part, s.epoch}
	}
	if out.said == saidNothing {
		return s.phase == 0, s
	}
	if s.phase != out.said || !agrees || out.epoch < s.epoch {
		return false, s
	}
	return true, held{s.phase, out.part, out.epoch}
}

func claimModel() porcupine.Model {
	return porcupine.Model{
		Init:  func() any { return held{} },
		Equal: func(a, b any) bool { return a == b },
		Step: func(state, input, output any) (bool, any) {
			ok, next := step(state.(held), input.(asked), output.(told))
			return ok, next
		},
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			byCall := map[ownership.CallID][]porcupine.Operation{}
			for _, o := range history {
				id := o.Input.(asked).call
				byCall[id] = append(byCall[id], o)
			}
			var all [][]porcupine.Operation
			for _, ops := range byCall {
				all = append(all, ops)
			}
			return all
		},
	}
}

// linearizable checks the histories of all calls. It names the first calls
// whose history no order explains.
func linearizable(history []porcupine.Operation) []string {
	model := claimModel()
	switch porcupine.CheckOperationsTimeout(model, history, 2*time.Minute) {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return []string{"I2: the histories were not checked within 2m"}
	}
	var bad []string
	for _, one := range model.Partition(history) {
		if len(bad) == 5 {
			break
		}
		if !porcupine.CheckOperations(model, one) {
			bad = append(bad, "I2: no order explains the history of "+story(one))
		}
	}
	return bad
}

// story is a call's history in words, for a finding; long ones are cut.
func story(ops []porcupine.Operation) string {
	slices.SortFunc(ops, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	text := string(ops[0].Input.(asked).call) + ":"
	verbs := []string{"", "claim", "read", "release"}
	words := []string{"", "owner", "ended", "nothing", "taken", "?"}
	for i, o := range ops {
		if i == 40 {
			return text + " …"
		}
		in, out := o.Input.(asked), o.Output.(told)
		text += fmt.Sprintf(" [%d %s→%s %d/%d %d]", (o.Call-ops[0].Call)/1000, verbs[in.verb], words[out.said], out.part, out.epoch, (o.Return-ops[0].Call)/1000)
	}
	return text
}
