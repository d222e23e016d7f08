package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
	"go.yaml.in/yaml/v3"

	"tandem/node"
)

// setting is one value and its origin: where it was said last.
type setting struct {
	Key    string `json:"key"`
	Value  any    `json:"value"`
	Origin string `json:"origin"`
}

// loaded is a configuration with the origin of each of its values.
type loaded struct {
	node.Config
	Settings []setting
}

// loadConfig layers defaults, file, environment and --set flags, later ones
// winning. An unknown key in the file is an error that names its line.
func loadConfig(file string, environ, sets []string) (*loaded, error) {
	keys := leaves(reflect.TypeFor[node.Config](), "")
	layers := []layer{{name: "default"}}
	defaults, err := fileLayer("default", mustYAML(node.Defaults()))
	if err != nil {
		return nil, fmt.Errorf("reading the defaults: %w", err)
	}
	layers[0] = defaults
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading the configuration: %w", err)
		}
		l, err := fileLayer("file "+file, text)
		if err != nil {
			return nil, fmt.Errorf("reading the configuration %s: %w", file, err)
		}
		layers = append(layers, l)
	}
	env, err := envLayer(keys, environ)
	if err != nil {
		return nil, err
	}
	flags, err := setLayer(keys, sets)
	if err != nil {
		return nil, err
	}
	layers = append(layers, env, flags)
	return merge(layers)
}

// layer is one source of values.
type layer struct {
	name   string
	values map[string]any
}

// fileLayer reads YAML strictly.
func fileLayer(name string, text []byte) (layer, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	var probe node.Config
	if err := dec.Decode(&probe); err != nil && !errors.Is(err, io.EOF) {
		return layer{}, err
	}
	var more any
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return layer{}, errors.New("it holds more than one YAML document")
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(text, &values); err != nil {
		return layer{}, err
	}
	return layer{name, values}, nil
}

// envLayer takes TANDEM_NODE_ID for node.id, and so on.
func envLayer(keys map[string]reflect.Type, environ []string) (layer, error) {
	byName := map[string]string{}
	for k := range keys {
		byName["TANDEM_"+strings.ToUpper(strings.ReplaceAll(k, ".", "_"))] = k
	}
	values := map[string]any{}
	for _, kv := range environ {
		name, text, _ := strings.Cut(kv, "=")
		key, ok := byName[name]
		if !ok {
			continue
		}
		v, err := typed(text, keys[key])
		if err != nil {
			return layer{}, fmt.Errorf("reading the environment: %s is %.60q: %w", name, text, err)
		}
		values[key] = v
	}
	return layer{"environment", values}, nil
}

// setLayer takes --set node.id=emea-1.
func setLayer(keys map[string]reflect.Type, sets []string) (layer, error) {
	values := map[string]any{}
	for _, kv := range sets {
		key, text, ok := strings.Cut(kv, "=")
		t, known := keys[key]
		if !ok || !known {
			return layer{}, fmt.Errorf("reading --set %q: write a known key and its value, such as node.id=emea-1", kv)
		}
		v, err := typed(text, t)
		if err != nil {
			return layer{}, fmt.Errorf("reading --set: %s is %.60q: %w", key, text, err)
		}
		values[key] = v
	}
	return layer{"flag", values}, nil
}

// typed reads a value as YAML would, and makes sure that the key it is for can
// hold it: in the merged configuration nobody would know where it came from.
func typed(text string, t reflect.Type) (v any, err error) {
	dec := yaml.NewDecoder(strings.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(reflect.New(t).Interface()); err != nil && !errors.Is(err, io.EOF) {
		return nil, shapeError{t, err}
	}
	err = yaml.Unmarshal([]byte(text), &v)
	return v, err
}

// shapeError says what a value should have been.
type shapeError struct {
	want reflect.Type
	err  error
}

func (e shapeError) Unwrap() error { return e.err }

func (e shapeError) Error() string {
	switch {
	case e.want == reflect.TypeFor[time.Duration]():
		return "write a time such as 30s"
	case e.want.Kind() == reflect.Bool:
		return "write true or false"
	case e.want.Kind() >= reflect.Int && e.want.Kind() <= reflect.Uint64:
		return "write a whole number"
	}
	return e.err.Error()
}

// merge lays the layers over one another and reads the result strictly again,
// so that the environment and flags meet the same types as the file.
func merge(layers []layer) (*loaded, error) {
	all := koanf.New(".")
	origin := map[string]string{}
	for _, l := range layers {
		one := koanf.New(".")
		if err := one.Load(confmap.Provider(l.values, "."), nil); err != nil {
			return nil, fmt.Errorf("reading the %s: %w", l.name, err)
		}
		for _, k := range one.Keys() {
			origin[k] = l.name
		}
		if err := all.Merge(one); err != nil {
			return nil, fmt.Errorf("merging the %s: %w", l.name, err)
		}
	}
	var out loaded
	dec := yaml.NewDecoder(bytes.NewReader(mustYAML(all.Raw())))
	dec.KnownFields(true)
	if err := dec.Decode(&out.Config); err != nil {
		return nil, fmt.Errorf("reading the merged configuration: %w", err)
	}
	for _, k := range all.Keys() {
		out.Settings = append(out.Settings, setting{k, all.Get(k), origin[k]})
	}
	return &out, nil
}

// leaves lists the keys that hold one value each.
func leaves(t reflect.Type, prefix string) map[string]reflect.Type {
	keys := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "-" || name == "" {
			continue
		}
		if f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[time.Time]() {
			for k, t := range leaves(f.Type, prefix+name+".") {
				keys[k] = t
			}
			continue
		}
		keys[prefix+name] = f.Type
	}
	return keys
}

// mustYAML writes a value that is known to have a YAML form.
func mustYAML(v any) []byte {
	b, err := yaml.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("writing a configuration as YAML: %v", err))
	}
	return b
}
