package plant

// Older is this software as it was one command format ago: it neither reads nor
// writes the newest one.
func Older() Plant {
	return Plant{Name: "older", What: "knows command format 3 only", Edits: []Edit{{
		File: "store/record/command.go",
		Old:  "const CommandFormat uint32 = ownership.FormatRules\n",
		New:  "const CommandFormat uint32 = ownership.FormatRules - 1\n",
	}}}
}
