package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"tandem/ownership"
)

// Bounds of a document. Every node compiles it, and every new call asks it.
const (
	MaxDocument = 256 << 10 // bytes of its text
	maxRules    = 1000      // and as many pins
	maxTables   = 64
	maxEntries  = 10_000 // of all tables together
)

// Document is all that operators write about calls, as one thing that travels: rules,
// the tables that they name, and pins.
type Document struct {
	Rules  []RuleSpec `json:"rules,omitempty" yaml:"rules,omitempty"`
	Pins   []PinSpec  `json:"pins,omitempty" yaml:"pins,omitempty"`
	Tables Tables     `json:"tables,omitempty" yaml:"tables,omitempty"`

	Evacuated map[ownership.Region]Evacuation `json:"evacuated,omitempty" yaml:"evacuated,omitempty"`
}

// Compiled is a document that can be asked. It is safe for concurrent use.
type Compiled struct {
	Document
	Rules *Rules
	Pins  *Pins
}

// ReadDocument reads and compiles a text in YAML or JSON, strictly: an unknown key is
// an error, and the errors name the line.
func ReadDocument(text []byte) (*Compiled, error) {
	if len(text) > MaxDocument {
		return nil, fmt.Errorf("reading the rules: the document has %d bytes, at most %d are allowed", len(text), MaxDocument)
	}
	if json.Valid(text) { // it is YAML, too, but for tabs, which stand between its words only
		text = bytes.ReplaceAll(text, []byte("\t"), []byte(" "))
	}
	var d Document
	if err := strictly(text, &d); err != nil {
		return nil, fmt.Errorf("reading the rules: %w", err)
	}
	c, err := CompileDocument(d)
	var at *entryError
	if errors.As(err, &at) {
		at.line = lineOf(text, at.list, at.at)
	}
	return c, err
}

// CompileDocument compiles what was read already.
func CompileDocument(d Document) (*Compiled, error) {
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("reading the rules: %w", err)
	}
	rules, err := compileRules(d)
	if err != nil {
		return nil, err
	}
	pins, err := CompilePins(d.Pins)
	if err != nil {
		return nil, err
	}
	return &Compiled{Document: d, Rules: rules, Pins: pins}, nil
}

// Regions are all that the document sends calls to, each once, in order.
func (d Document) Regions() []ownership.Region {
	var all []ownership.Region
	for _, r := range d.Rules {
		all = append(append(append(all, r.Region), r.Spread...), r.Overflow...)
	}
	for _, t := range d.Tables {
		for _, r := range t {
			all = append(all, r)
		}
	}
	for r, e := range d.Evacuated {
		all = append(append(all, r), e.To...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return slices.DeleteFunc(all, func(r ownership.Region) bool { return r == "" })
}

func (d Document) check() error {
	for what, n := range map[string]int{"rules": len(d.Rules), "pins": len(d.Pins)} {
		if n > maxRules {
			return fmt.Errorf("there are %d %s, at most %d are allowed: a table holds many cases of one rule", n, what, maxRules)
		}
	}
	if len(d.Tables) > maxTables {
		return fmt.Errorf("there are %d tables, at most %d are allowed", len(d.Tables), maxTables)
	}
	entries := 0
	for name, t := range d.Tables {
		if name == "" {
			return errors.New("a table has no name")
		}
		for key, region := range t {
			if key == "" || region == "" {
				return fmt.Errorf("table %s has an entry without a text or without a region", name)
			}
		}
		entries += len(t)
	}
	if entries > maxEntries {
		return fmt.Errorf("the tables have %d entries, at most %d are allowed in all", entries, maxEntries)
	}
	return d.checkEvacuated()
}

// strictly reads one YAML document; unknown keys are errors. What the reader says in
// several lines becomes one.
func strictly(text []byte, into any) error {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	err := dec.Decode(into)
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("the document is empty (write rules: [] for no rule)")
	case err != nil:
		says := strings.NewReplacer("yaml: ", "", "unmarshal errors:\n  ", "", "\n  ", "; ", "\n", " ",
			"not found in type policy.RuleSpec", "is no key of a rule",
			"not found in type policy.PinSpec", "is no key of a pin",
			"not found in type policy.Evacuation", "is no key of an evacuation",
			"not found in type policy.Document", "is no key of the document")
		return errors.New(says.Replace(err.Error()))
	}
	var more any
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return errors.New("it holds more than one YAML document")
	}
	return nil
}

// entryError is what is wrong with one entry of a list.
type entryError struct {
	list string // its key in the document
	at   int    // from 0
	what string // what operators call it
	line int    // in the text; 0: there is none
	err  error
}

// Error names the entry, counted from 1, and its line where there is one.
func (e *entryError) Error() string {
	line := ""
	if e.line > 0 {
		line = fmt.Sprintf(" (line %d)", e.line)
	}
	return fmt.Sprintf("reading %s %d%s: %v", e.what, e.at+1, line, e.err)
}

// Unwrap returns what is wrong.
func (e *entryError) Unwrap() error { return e.err }

// lineOf finds the line in which an entry of a list begins; 0: not found.
func lineOf(text []byte, list string, at int) int {
	var whole map[string]yaml.Node
	if yaml.Unmarshal(text, &whole) != nil {
		return 0
	}
	n := whole[list]
	if n.Kind != yaml.SequenceNode || at >= len(n.Content) {
		return 0
	}
	return n.Content[at].Line
}
