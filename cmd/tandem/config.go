package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

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

// loadConfig lays defaults, file, environment and --set flags over one another,
// later ones winning. An unknown key in the file is an error that names its line.
func loadConfig(file string, environ, sets []string) (*loaded, error) {
	out := loaded{Config: node.Defaults()}
	keys := leaves(reflect.ValueOf(&out.Config).Elem(), "")
	origin := map[string]string{}
	for k := range keys {
		origin[k] = "default"
	}
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading the configuration: %w", err)
		}
		said, err := readFile(&out.Config, text)
		if err != nil {
			return nil, fmt.Errorf("reading the configuration %s: %w", file, err)
		}
		for _, k := range said {
			origin[k] = "file " + file
		}
	}
	if err := readEnviron(keys, origin, environ); err != nil {
		return nil, fmt.Errorf("reading the environment: %w", err)
	}
	if err := readSets(keys, origin, sets); err != nil {
		return nil, err
	}
	if err := readSecrets(out.Apps, environ); err != nil {
		return nil, fmt.Errorf("reading the environment: %w", err)
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		var plain any
		if err := yaml.Unmarshal(mustYAML(keys[k].Interface()), &plain); err != nil {
			return nil, fmt.Errorf("reading %s again: %w", k, err)
		}
		out.Settings = append(out.Settings, setting{k, plain, origin[k]})
	}
	return &out, nil
}

// readFile lays a file over cfg, strictly, and tells the keys that it holds. The
// types of cfg rule, so a text key takes 007 or 1e3 letter by letter.
func readFile(cfg *node.Config, text []byte) (said []string, err error) {
	if err := strictly(text, cfg); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var whole map[string]yaml.Node
	if err := yaml.Unmarshal(text, &whole); err != nil {
		return nil, err
	}
	for name, below := range whole {
		said = append(said, keysOf(name, &below)...)
	}
	return said, nil
}

// keysOf returns the dotted keys of a node of a file. More of them than leaves are
// told: a list's parent is no setting.
func keysOf(at string, n *yaml.Node) []string {
	keys := []string{at}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			keys = append(keys, keysOf(at+"."+n.Content[i].Value, n.Content[i+1])...)
		}
	}
	return keys
}

// strictly reads one YAML document; unknown keys are errors.
func strictly(text []byte, into any) error {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(into); err != nil {
		return err
	}
	var more any
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return errors.New("it holds more than one YAML document")
	}
	return nil
}

// readEnviron takes TANDEM_NODE_ID for node.id, and so on.
func readEnviron(keys map[string]reflect.Value, origin map[string]string, environ []string) error {
	byName := map[string]string{}
	for k := range keys {
		byName["TANDEM_"+strings.ToUpper(strings.ReplaceAll(k, ".", "_"))] = k
	}
	for _, kv := range environ {
		name, text, _ := strings.Cut(kv, "=")
		key, ok := byName[name]
		if !ok {
			continue
		}
		if err := put(keys[key], text); err != nil {
			return fmt.Errorf("%s is %s: %w", name, shown(text), err)
		}
		origin[key] = "environment"
	}
	return nil
}

// readSets takes --set node.id=emea-1.
func readSets(keys map[string]reflect.Value, origin map[string]string, sets []string) error {
	for _, kv := range sets {
		key, text, ok := strings.Cut(kv, "=")
		value, known := keys[key]
		if !ok || !known {
			return usage("reading --set %.60q: write a known key and its value, such as node.id=emea-1; 'tandem config show --origin' lists the keys", kv)
		}
		if err := put(value, text); err != nil {
			return usage("reading --set: %s is %s: %w", key, shown(text), err)
		}
		origin[key] = "flag"
	}
	return nil
}

// readSecrets takes the secrets of apps, by their place in the list: a file of
// settings is no place for them, and an argument is seen by the whole machine.
func readSecrets(apps []node.App, environ []string) error {
	places := map[string]*string{}
	for i := range apps {
		places[fmt.Sprintf("TANDEM_APPS_%d_GRAPH_CLIENT_SECRET", i)] = &apps[i].Graph.ClientSecret
		places[fmt.Sprintf("TANDEM_APPS_%d_BOT_SECRET", i)] = &apps[i].Bot.Secret
	}
	for _, kv := range environ {
		name, text, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, "TANDEM_APPS_") || !strings.HasSuffix(name, "_SECRET") {
			continue
		}
		place, ok := places[name]
		switch {
		case !ok:
			return fmt.Errorf("%s is for no app: the first one's are TANDEM_APPS_0_GRAPH_CLIENT_SECRET and TANDEM_APPS_0_BOT_SECRET, and there are %d apps", name, len(apps))
		case text == "":
			return fmt.Errorf("%s is empty: write the secret, or leave the variable out", name)
		}
		*place = text
	}
	return nil
}

// shown is a value as an error repeats it.
func shown(text string) string {
	if text == "" {
		return "empty"
	}
	return fmt.Sprintf("%.60q", text)
}

// put reads one value from outside into the place of its key. A text is taken as
// it is, whatever it looks like; only what has parts is read as YAML.
func put(place reflect.Value, text string) error {
	switch kind := place.Kind(); {
	case place.Type() == reflect.TypeFor[time.Duration]():
		d, err := time.ParseDuration(text)
		if err != nil {
			return errors.New("write a time such as 30s")
		}
		place.SetInt(int64(d))
	case kind == reflect.String:
		place.SetString(text)
	case kind == reflect.Bool:
		if text != "true" && text != "false" {
			return errors.New("write true or false")
		}
		place.SetBool(text == "true")
	case place.CanInt():
		n, err := strconv.ParseInt(text, 10, place.Type().Bits())
		if err != nil {
			return errors.New("write a whole number")
		}
		place.SetInt(n)
	case place.Type() == reflect.TypeFor[[]string]():
		list, err := textsOf(text)
		if err != nil {
			return err
		}
		place.Set(reflect.ValueOf(list))
	default:
		fresh := reflect.New(place.Type())
		if err := strictly([]byte(text), fresh.Interface()); errors.Is(err, io.EOF) {
			return errors.New("write it as YAML has it, such as [] for none")
		} else if err != nil {
			return err
		}
		place.Set(fresh.Elem())
	}
	return nil
}

// textsOf reads a list of texts: a, b or [a, b]. An IPv6 address may begin with
// a bracket, too, so what is no list of YAML is one with commas.
func textsOf(text string) ([]string, error) {
	list := []string{}
	trimmed := strings.TrimSpace(text)
	var doc yaml.Node
	if strings.HasPrefix(trimmed, "[") && strings.HasSuffix(trimmed, "]") && yaml.Unmarshal([]byte(trimmed), &doc) == nil {
		for _, n := range doc.Content[0].Content {
			if n.Kind != yaml.ScalarNode {
				return nil, errors.New("write texts, with commas between them")
			}
			list = append(list, n.Value)
		}
		return list, nil
	}
	for part := range strings.SplitSeq(trimmed, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list, nil
}

// leaves lists the keys that hold one value each, with their places.
func leaves(v reflect.Value, prefix string) map[string]reflect.Value {
	keys := map[string]reflect.Value{}
	for i := range v.NumField() {
		name, how, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if how == "inline" {
			maps.Copy(keys, leaves(v.Field(i), prefix))
			continue
		}
		if name == "-" || name == "" {
			continue
		}
		if v.Field(i).Kind() == reflect.Struct {
			maps.Copy(keys, leaves(v.Field(i), prefix+name+"."))
			continue
		}
		keys[prefix+name] = v.Field(i)
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
