package machines_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// prompted finds what a page has its reader type at the desk.
var prompted = regexp.MustCompile(`(?m)^desk\$ (.*)$`)

// steps returns the lines that a page has its reader type, in their order.
func steps(t *testing.T, page string) (lines []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range prompted.FindAllStringSubmatch(string(text), -1) {
		lines = append(lines, m[1])
	}
	return lines
}

// follow does what a page says, word for word. Of what the reader has around it, three
// commands are made here: ssh and scp lead to the machines of the stage, and sudo gives
// scripts/provision a folder to write below, for all machines share one disk. What
// systemd would do, starting the node of a machine that was provisioned, the test does.
func (s *stage) follow(page string) {
	s.t.Helper()
	home, tools := s.t.TempDir(), s.t.TempDir()
	for name, text := range map[string]string{
		"ssh":  `at=$1; shift; cd "$HOMES/$at" && HOME=$PWD PATH=$PWD/usr/local/bin:$PATH exec ip netns exec "$SPACES$at" bash -c "$*"`,
		"scp":  `to=${*: -1}; cp -rL "${@:2:$#-2}" "$HOMES/${to%%:*}/${to#*:}"`,
		"sudo": `if [ "$1" = scripts/provision ]; then set -- "$@" --root "$HOME"; fi; exec "$@"`,
	} {
		if err := os.WriteFile(filepath.Join(tools, name), []byte("#!/usr/bin/env bash\nset -euo pipefail\n"+text+"\n"), 0o700); err != nil {
			s.t.Fatal(err)
		}
	}
	must(s.t, exec.Command("ln", "-s", buildTandem(s.t), filepath.Join(tools, "tandem")))
	for _, dir := range []string{"scripts", "deploy"} {
		must(s.t, exec.Command("cp", "-r", filepath.Join("..", dir), home))
	}
	must(s.t, exec.Command("ln", "-s", s.desk, filepath.Join(home, "desk")))
	for _, m := range s.machines {
		must(s.t, exec.Command("ln", "-s", m.root, filepath.Join(tools, m.name)))
		s.apps(m)
	}
	lines := steps(s.t, page)
	if len(lines) < 8 {
		s.t.Fatalf("%s has %d lines to type: they are not found", page, len(lines))
	}
	for _, line := range lines {
		begun := time.Now()
		c := exec.Command("bash", "-euo", "pipefail", "-c", line)
		c.Dir = home
		c.Env = append(os.Environ(), "HOME="+home, "PATH="+tools+":"+os.Getenv("PATH"), "HOMES="+tools, "SPACES="+s.net.namespace(""))
		out, err := runFor(c, 4*patience)
		if err != nil {
			s.t.Fatalf("%s says: %s\n%v\n%s", page, line, err, out)
		}
		s.tell("%s (%s)\n%s", line, time.Since(begun).Round(time.Millisecond), strings.TrimSpace(out))
		for _, m := range s.machines {
			if _, err := os.Stat(m.path("etc/tandem/tandem.yaml")); err == nil && m.process == nil {
				m.start()
			}
		}
		s.shown(line, out)
	}
}

// shown looks at what the page lets its reader look at.
func (s *stage) shown(line, out string) {
	s.t.Helper()
	switch {
	case strings.Contains(line, "tandem nodes"):
		if n := strings.Count(out, " active "); n != s.each {
			s.t.Errorf("%s shows %d active nodes, not %d:\n%s", line, n, s.each, out)
		}
	case strings.Contains(line, "tandem regions"):
		for _, region := range s.regions {
			if !strings.Contains(out, region) {
				s.t.Errorf("%s does not show %s:\n%s", line, region, out)
			}
		}
	case strings.Contains(line, "operator.token"):
		token, err := os.ReadFile(filepath.Join(s.desk, "operator.token"))
		if err != nil {
			s.t.Fatal(err)
		}
		if strings.Contains(out, strings.TrimSpace(string(token))) {
			s.t.Errorf("%s shows the operator's token", line)
		}
	}
}
