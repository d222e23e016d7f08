package tandem

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// licenceTexts tell licences by a sentence of theirs. They may be linked into the
// program; a text that is none of them needs a person to read it.
var licenceTexts = []struct{ id, has string }{
	{"Apache-2.0", "Apache License Version 2.0"},
	{"MPL-2.0", "Mozilla Public License"},
	{"BSD-3-Clause", "Neither the name of"},
	{"BSD-3-Clause", "Neither name of"},
	{"BSD-2-Clause", "Redistributions in binary form must reproduce"},
	{"MIT", "Permission is hereby granted, free of charge"},
	{"CC0-1.0", "released into the public domain with CC0 1.0"},
	{"ISC", "Permission to use, copy, modify, and/or distribute"},
}

// linkedModules keeps what linked found.
var linkedModules = map[string]string{}

// linked gives the modules of the program on all platforms, with the folders of their sources.
func linked(t *testing.T) map[string]string {
	t.Helper()
	if len(linkedModules) > 0 {
		return maps.Clone(linkedModules)
	}
	all := linkedModules
	for _, system := range []string{"linux", "windows", "darwin"} {
		c := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}", "./cmd/tandem")
		c.Env = append(os.Environ(), "GOOS="+system)
		out, err := c.Output()
		if err != nil {
			t.Fatalf("listing what is linked on %s: %v", system, err)
		}
		for line := range strings.Lines(string(out)) {
			if path, dir, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
				all[path] = dir
			}
		}
	}
	return maps.Clone(all)
}

// licenceOf reads a module's licence; empty: no file says one that is known here.
func licenceOf(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := strings.ToUpper(filepath.Base(file))
		if !strings.HasPrefix(name, "LICEN") && !strings.HasPrefix(name, "COPYING") {
			continue
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			continue // a folder
		}
		text := strings.Join(strings.Fields(string(raw)), " ")
		for _, l := range licenceTexts {
			if strings.Contains(strings.ToLower(text), strings.ToLower(l.has)) {
				return l.id
			}
		}
	}
	return ""
}

// TestD16_LicencesOfWhatIsLinked: every module in the program stands in
// deploy/licences.txt with the licence that its sources bear, and nothing else does.
func TestD16_LicencesOfWhatIsLinked(t *testing.T) {
	text, err := os.ReadFile("deploy/licences.txt")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] != "#" {
			listed[f[0]] = f[1]
		}
	}
	modules := linked(t)
	for path, dir := range modules {
		switch is := licenceOf(t, dir); {
		case is == "":
			t.Errorf("%s bears no licence that is known here: read it before it is linked", path)
		case listed[path] != is:
			t.Errorf("%s is %s; deploy/licences.txt says %q", path, is, listed[path])
		}
	}
	for path := range listed {
		if modules[path] == "" {
			t.Errorf("deploy/licences.txt lists %s, which is not linked", path)
		}
	}
}

// TestD16_SBOM: the list of what is linked is one that other tools read, and whole.
func TestD16_SBOM(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("scripts/sbom: bash is not installed")
	}
	out, err := exec.CommandContext(t.Context(), "bash", "scripts/sbom").Output()
	if err != nil {
		t.Fatalf("scripts/sbom: %v", err)
	}
	var bom struct {
		BOMFormat, SpecVersion string
		Components             []struct {
			Name, Version, PURL string
			Licenses            []struct{ License struct{ ID string } }
		}
	}
	if err := json.Unmarshal(out, &bom); err != nil || bom.BOMFormat != "CycloneDX" || bom.SpecVersion != "1.5" {
		t.Fatalf("%v\n%.300s", err, out)
	}
	want := append(slices.Sorted(maps.Keys(linked(t))), "std")
	slices.Sort(want)
	var got []string
	for _, c := range bom.Components {
		got = append(got, c.Name)
		if c.Version == "" || c.PURL != "pkg:golang/"+c.Name+"@"+c.Version || len(c.Licenses) != 1 || c.Licenses[0].License.ID == "" {
			t.Errorf("%+v", c)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the document lists %q, linked is %q", got, want)
	}
}
