package claims

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

// Said is what the answer told.
type Said uint8

// What an answer tells.
const (
	SaidOwner   Said = iota + 1 // the call has a place
	SaidEnded                   // the call is over
	SaidNothing                 // the table does not know the call
	SaidTaken                   // the repeat was taken: the call is placed somewhere, or over
	SaidUnknown                 // no answer, or a refusal that may have come too late
)

// asked is the input of one operation on one call.
type asked struct {
	verb verb
	call ownership.CallID
}

// Told is the output of one operation.
type Told struct {
	Said  Said
	Part  ownership.PartitionID
	Epoch ownership.Epoch // of reads: never falls
}

// held is the state of one call in the model.
type held struct {
	phase Said // 0: never claimed, saidOwner, SaidEnded
	part  ownership.PartitionID
	epoch ownership.Epoch
}

// step is the sequential rule of one call: a claim gives it a partition for
// ever, whoever claims again gets the same one, a linearizable read sees what
// was acknowledged before it, its epoch never falls, and what ended has ended. A
// repeated claim may be answered from a node's memory, which may not have heard
// of the end yet; that is promised harmless, not fresh.
func step(s held, in asked, out Told) (bool, held) {
	agrees := s.part == 0 || out.Part == s.part
	switch in.verb {
	case verbClaim:
		switch {
		case out.Said == SaidUnknown && s.phase == 0:
			return true, held{phase: SaidOwner}
		case out.Said == SaidUnknown:
			return true, s
		case out.Said == SaidTaken && s.phase == 0:
			return true, held{phase: SaidOwner}
		case out.Said == SaidTaken:
			return true, s
		case s.phase == SaidEnded:
			return agrees, s
		}
		return agrees, held{SaidOwner, out.Part, s.epoch}
	case verbRelease:
		if out.Said == SaidNothing {
			return s.phase == 0, s
		}
		if s.phase == 0 {
			return out.Said == SaidUnknown, s
		}
		return true, held{SaidEnded, s.part, s.epoch}
	}
	if out.Said == SaidNothing {
		return s.phase == 0, s
	}
	if s.phase != out.Said || !agrees || out.Epoch < s.epoch {
		return false, s
	}
	return true, held{s.phase, out.Part, out.Epoch}
}

func claimModel() porcupine.Model {
	return porcupine.Model{
		Init:  func() any { return held{} },
		Equal: func(a, b any) bool { return a == b },
		Step: func(state, input, output any) (bool, any) {
			ok, next := step(state.(held), input.(asked), output.(Told))
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

// Linearizable checks the histories of all calls. It names the first calls
// whose history no order explains.
func Linearizable(history []porcupine.Operation) []string {
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
		in, out := o.Input.(asked), o.Output.(Told)
		text += fmt.Sprintf(" [%d %s→%s %d/%d %d]", (o.Call-ops[0].Call)/1000, verbs[in.verb], words[out.Said], out.Part, out.Epoch, (o.Return-ops[0].Call)/1000)
	}
	return text
}
