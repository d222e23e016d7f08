package plant

// Older is this software as it was before the region's ledger: it neither reads nor
// writes the newer command formats.
func Older() Plant {
	return Plant{Name: "older", What: "knows no command format since the ledger's", Edits: []Edit{{
		File: "store/record/command.go",
		Old:  "const CommandFormat uint32 = ownership.FormatDeposits\n",
		New:  "const CommandFormat uint32 = ownership.FormatLedger - 1\n",
	}}}
}
