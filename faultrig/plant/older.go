package plant

// Older is this software as it was one command format ago: it neither reads nor
// writes the newest one.
func Older() Plant {
	return Plant{Name: "older", What: "knows the command format before the newest only", Edits: []Edit{{
		File: "store/record/command.go",
		Old:  "const CommandFormat uint32 = ownership.FormatRollouts\n",
		New:  "const CommandFormat uint32 = ownership.FormatRollouts - 1\n",
	}}}
}
