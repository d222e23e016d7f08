package doctor

// Level is how bad a finding is.
type Level int

// Levels: Well needs nothing, Unknown could not be looked at, Warn should be seen to, and
// Fail harms calls or is about to.
const (
	Well Level = iota
	Unknown
	Warn
	Fail
)

// String names a level.
func (l Level) String() string { return [...]string{"well", "unknown", "warning", "FAILS"}[l] }

// MarshalText writes the name, in small letters.
func (l Level) MarshalText() ([]byte, error) {
	return []byte([...]string{"well", "unknown", "warning", "fails"}[l]), nil
}

// Finding is what one check found, and what to do about it.
type Finding struct {
	Level Level  `json:"level"`
	Check string `json:"check"`
	Where string `json:"where"` // a node, a region, or this machine
	Text  string `json:"text"`
	Do    string `json:"do,omitempty"`
}

// Worst is the highest level among findings.
func Worst(all []Finding) (worst Level) {
	for _, f := range all {
		worst = max(worst, f.Level)
	}
	return worst
}
