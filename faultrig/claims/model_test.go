package claims

import (
	"math"
	"testing"

	"github.com/anishathalye/porcupine"
)

func TestModel(t *testing.T) {
	claim, read, release := asked{verbClaim, "c1"}, asked{verbRead, "c1"}, asked{verbRelease, "c1"}
	p7, p8 := Told{SaidOwner, 7, 1}, Told{SaidOwner, 8, 1}
	nothing, unknown, taken, ended := Told{Said: SaidNothing}, Told{Said: SaidUnknown}, Told{Said: SaidTaken}, Told{Said: SaidEnded}
	const open = math.MaxInt64
	op := func(from, to int64, in asked, out Told) porcupine.Operation {
		return porcupine.Operation{Input: in, Output: out, Call: from, Return: to}
	}
	for _, tt := range []struct {
		name string
		ops  []porcupine.Operation
		bad  bool
	}{
		{"claim, read", []porcupine.Operation{op(1, 2, claim, p7), op(3, 4, read, p7)}, false},
		{"two owners", []porcupine.Operation{op(1, 2, claim, p7), op(3, 4, claim, p8)}, true},
		{"two owners at once", []porcupine.Operation{op(1, 4, claim, p7), op(2, 5, claim, p8)}, true},
		{"a stale read", []porcupine.Operation{op(1, 2, claim, p7), op(3, 4, read, nothing)}, true},
		{"a read beside the claim", []porcupine.Operation{op(1, 4, claim, p7), op(2, 3, read, nothing)}, false},
		{"a read of what nobody claimed", []porcupine.Operation{op(1, 2, read, p7)}, true},
		{"a lost claim took effect", []porcupine.Operation{op(1, open, claim, unknown), op(5, 6, read, p7)}, false},
		{"a lost claim took none", []porcupine.Operation{op(1, open, claim, unknown), op(5, 6, read, nothing)}, false},
		{"a lost claim came and went", []porcupine.Operation{op(1, open, claim, unknown), op(5, 6, read, p7), op(7, 8, read, nothing)}, true},
		{"a repeat was taken", []porcupine.Operation{op(1, 3, claim, p7), op(2, 4, claim, taken)}, false},
		{"an epoch rises", []porcupine.Operation{op(1, 2, claim, p7), op(3, 4, read, Told{SaidOwner, 7, 2}), op(5, 6, read, Told{SaidOwner, 7, 2})}, false},
		{"an epoch falls", []porcupine.Operation{op(1, 2, claim, p7), op(3, 4, read, Told{SaidOwner, 7, 2}), op(5, 6, read, p7)}, true},
		{"an end", []porcupine.Operation{op(1, 2, claim, p7), op(3, 4, release, ended), op(5, 6, read, Told{SaidEnded, 7, 1})}, false},
		{"an end that nobody made", []porcupine.Operation{op(1, 2, claim, p7), op(5, 6, read, Told{SaidEnded, 7, 1})}, true},
		{"an end undone", []porcupine.Operation{op(1, 2, claim, p7), op(3, 4, release, ended), op(5, 6, read, p7)}, true},
		{"a memory that has not heard of the end", []porcupine.Operation{op(1, 2, claim, p7), op(3, 4, release, ended), op(5, 6, claim, p7)}, false},
		{"a release that knew no such call", []porcupine.Operation{op(1, 2, claim, p7), op(3, 4, release, nothing)}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if bad := Linearizable(tt.ops); (len(bad) > 0) != tt.bad {
				t.Errorf("found %q, want a finding: %v", bad, tt.bad)
			}
		})
	}
}
