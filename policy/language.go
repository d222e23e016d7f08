package policy

import (
	"fmt"
	"reflect"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// The rules' language is CEL (https://cel.dev) with one variable, call, whose
// fields are those of Facts. Fields are declared, so a misspelled one is an
// error when the rules are read, not a rule that never matches. A missing part
// never raises: its fields read as "", has() of it is false, it equals null.

// section is the part of a call's facts under one name: call, call.source,
// call.botData. It is a value of the language and never leaves it.
type section struct {
	of    *cel.Type
	facts *Facts
}

var (
	callType    = cel.ObjectType("tandem.Call")
	sourceType  = cel.ObjectType("tandem.Source")
	botDataType = cel.ObjectType("tandem.BotData")
)

// ConvertToNative refuses: a section has no other form.
func (s *section) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("reading %s: it cannot become a %s", s.of.TypeName(), t)
}

// ConvertToType returns the section's type, and an error for any other wish.
func (s *section) ConvertToType(t ref.Type) ref.Val {
	if t.TypeName() == types.TypeType.TypeName() {
		return s.of
	}
	return types.NewErr("%s cannot become a %s", s.of.TypeName(), t.TypeName())
}

// Equal compares by identity: one call has one section of each type.
func (s *section) Equal(other ref.Val) ref.Val {
	o, ok := other.(*section)
	return types.Bool(ok && o.of == s.of && o.facts == s.facts)
}

// Type returns the section's type.
func (s *section) Type() ref.Type { return s.of }

// Value returns the section itself, on which its fields are read.
func (s *section) Value() any { return s }

// ResolveName returns the one variable of the language.
func (s *section) ResolveName(name string) (any, bool) { return s, name == "call" }

// Parent is none: there are no other variables.
func (s *section) Parent() cel.Activation { return nil }

// dictionary tells CEL the types and fields; the rest it knows by itself.
type dictionary struct {
	types.Provider
	types.Adapter
	fields map[string]map[string]*types.FieldType
	names  map[string][]string
}

func newDictionary() (*dictionary, error) {
	base, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	d := &dictionary{
		Provider: base, Adapter: base,
		fields: map[string]map[string]*types.FieldType{}, names: map[string][]string{},
	}
	for _, f := range callFacts {
		d.add(callType, f.name, textField(f))
	}
	d.addSection("source", sourceType, sourceFacts)
	d.addSection("botData", botDataType, botDataFacts)
	return d, nil
}

func (d *dictionary) add(of *cel.Type, name string, f *types.FieldType) {
	t := of.TypeName()
	if d.fields[t] == nil {
		d.fields[t] = map[string]*types.FieldType{}
	}
	d.fields[t][name] = f
	d.names[t] = append(d.names[t], name)
}

func (d *dictionary) addSection(name string, t *cel.Type, facts []fact) {
	set := func(target any) (*Facts, bool) {
		s, ok := target.(*section)
		if !ok {
			return nil, false
		}
		for _, f := range facts {
			if f.read(s.facts) != "" {
				return s.facts, true
			}
		}
		return nil, false
	}
	d.add(callType, name, &types.FieldType{
		Type:  t,
		IsSet: func(target any) bool { _, ok := set(target); return ok },
		GetFrom: func(target any) (any, error) {
			if f, ok := set(target); ok {
				return &section{of: t, facts: f}, nil
			}
			return types.NullValue, nil
		},
	})
	for _, f := range facts {
		d.add(t, f.name, textField(f))
	}
}

// textField is a field that reads as "" where it, or what it is part of, is
// missing.
func textField(f fact) *types.FieldType {
	read := func(target any) string {
		if s, ok := target.(*section); ok {
			return f.read(s.facts)
		}
		return ""
	}
	return &types.FieldType{
		Type:    types.StringType,
		IsSet:   func(target any) bool { return read(target) != "" },
		GetFrom: func(target any) (any, error) { return types.String(read(target)), nil },
	}
}

// FindStructType knows the sections' types.
func (d *dictionary) FindStructType(name string) (*types.Type, bool) {
	for _, t := range []*cel.Type{callType, sourceType, botDataType} {
		if t.TypeName() == name {
			return types.NewTypeTypeWithParam(t), true
		}
	}
	return d.Provider.FindStructType(name)
}

// FindStructFieldNames knows the sections' fields.
func (d *dictionary) FindStructFieldNames(name string) ([]string, bool) {
	if names, ok := d.names[name]; ok {
		return names, true
	}
	return d.Provider.FindStructFieldNames(name)
}

// FindStructFieldType knows the sections' fields.
func (d *dictionary) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if fields, ok := d.fields[name]; ok {
		f, ok := fields[field]
		return f, ok
	}
	return d.Provider.FindStructFieldType(name, field)
}

// language is the compiler of the rules, made once.
var language = sync.OnceValues(func() (*cel.Env, error) {
	d, err := newDictionary()
	if err != nil {
		return nil, err
	}
	return cel.NewEnv(
		cel.CustomTypeProvider(d),
		cel.CustomTypeAdapter(d),
		cel.Variable("call", callType),
		cel.ParserExpressionSizeLimit(maxExpressionLen),
		cel.ParserRecursionLimit(maxExpressionDepth),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateTimestampLiterals(),
			cel.ValidateDurationLiterals(), cel.ValidateComprehensionNestingLimit(1)),
	)
})
