package plant

import (
	"fmt"

	"tandem/ownership"
)

// OlderFormats are the command formats of the programs that Older makes, oldest first: before
// the region's ledger, and before rules for versions of bots.
func OlderFormats() []uint32 {
	return []uint32{ownership.FormatLedger - 1, ownership.FormatRollouts - 1}
}

// Older is this software as it was in an older command format: it neither reads nor writes
// the newer ones.
func Older(format uint32) Plant {
	return Plant{Name: fmt.Sprintf("older-%d", format), What: fmt.Sprintf("knows no command format above %d", format), Edits: []Edit{{
		File: "store/record/command.go",
		Old:  "const CommandFormat uint32 = ownership.FormatDeposits\n",
		New:  fmt.Sprintf("const CommandFormat uint32 = %d\n", format),
	}}}
}
