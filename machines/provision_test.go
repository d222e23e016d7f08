package machines_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const someApps = `apps:
  - id: 0efc74f7-41c3-47a4-8775-7259bfef4241
    hosting: app
    answer: bot
    bot: {url: "http://127.0.0.1:9442/", health_url: "http://127.0.0.1:9442/health"}
`

// desk is a folder with what an operator has before the first machine.
type desk struct{ binary, apps, shared, root string }

func newDesk(t *testing.T, binary string) desk {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("scripts/provision: bash is not installed")
	}
	folder := t.TempDir()
	d := desk{binary, filepath.Join(folder, "apps.yaml"), filepath.Join(folder, "shared"), filepath.Join(folder, "machine")}
	write(t, d.apps, someApps)
	return d
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// provision runs the script for one machine; later options win.
func (d desk) provision(more ...string) (string, error) {
	return run(exec.Command("bash", append([]string{
		"../scripts/provision", "--node", "emea-1", "--region", "emea", "--address", "10.77.1.1", "--binary", d.binary,
		"--shared", d.shared, "--apps", d.apps, "--root", d.root, "--region-url", "https://emea.bot.test:8443",
		"--other", "amer=https://amer.bot.test:8443", "--first",
	}, more...)...))
}

// TestProvision sets a machine up below a folder, twice: what must be secret is,
// and the second time keeps the certificates and the keys.
func TestProvision(t *testing.T) {
	d := newDesk(t, buildTandem(t))
	if out, err := d.provision(); err != nil {
		t.Fatalf("the first time: %v\n%s", err, out)
	}
	kept := []string{"etc/tandem/tls/ca.crt", "etc/tandem/tls/node.crt", "etc/tandem/tls/node.key", "etc/tandem/handle-keys"}
	first := map[string]string{}
	for name, mode := range map[string]fs.FileMode{
		"usr/local/bin/tandem":    0o755,
		"etc/tandem":              fs.ModeDir | 0o750,
		"etc/tandem/tls":          fs.ModeDir | 0o750,
		"etc/tandem/tls/ca.crt":   0o640,
		"etc/tandem/tls/node.crt": 0o640,
		"etc/tandem/tls/node.key": 0o600,
		"etc/tandem/handle-keys":  0o600,
		"etc/tandem/tandem.yaml":  0o640,
		"var/lib/tandem":          fs.ModeDir | 0o750,
	} {
		file := filepath.Join(d.root, name)
		info, err := os.Stat(file)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if info.Mode() != mode {
			t.Errorf("%s has mode %s, not %s", name, info.Mode(), mode)
		}
		if slices.Contains(kept, name) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Error(err)
			}
			first[name] = string(text)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(d.shared, "emea-1*")); len(left) > 0 {
		t.Errorf("the node's key was left with everybody's files: %s", left)
	}
	serves(t, d.root, "10.77.1.1", "emea.bot.test")

	// The authority has been taken away, as it should be, and an app was added.
	if err := os.RemoveAll(d.shared); err != nil {
		t.Fatal(err)
	}
	write(t, d.apps, someApps+"rules:\n  - {when: 'true', region: emea}\n")
	if out, err := d.provision(); err != nil {
		t.Fatalf("the second time: %v\n%s", err, out)
	}
	for _, name := range kept {
		if text, err := os.ReadFile(filepath.Join(d.root, name)); err != nil || string(text) != first[name] {
			t.Errorf("%s was not kept: %v", name, err)
		}
	}
	config := filepath.Join(d.root, "etc/tandem/tandem.yaml")
	if text, err := os.ReadFile(config); err != nil || !strings.Contains(string(text), "rules:") {
		t.Errorf("the new configuration is not there: %v", err)
	}
	if _, err := os.Stat(d.shared); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a second authority was made")
	}

	// A configuration that does not hold leaves the old one in force.
	old, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, d.apps, "apps: []\n")
	if out, err := d.provision(); err == nil || !strings.Contains(out, "apps is empty") {
		t.Errorf("a configuration without apps was taken: %v\n%s", err, out)
	}
	if now, err := os.ReadFile(config); err != nil || string(now) != string(old) {
		t.Errorf("the old configuration is gone: %v", err)
	}
}

// serves: the node's certificate is good for a TLS server under these names.
func serves(t *testing.T, root string, names ...string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(root, "etc/tandem/tls", name) }
	pair, err := tls.LoadX509KeyPair(at("node.crt"), at("node.key"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(at("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	for _, name := range names {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
			t.Errorf("as a server named %s: %v", name, err)
		}
	}
}

// TestProvisionRefuses: what is wrong is said before anything is written.
func TestProvisionRefuses(t *testing.T) {
	d := newDesk(t, "/bin/true") // it is not asked
	for name, tc := range map[string]struct {
		args []string
		says string
	}{
		"unknown option":      {[]string{"--frist", "x"}, "unknown option --frist"},
		"option without":      {[]string{"--zone"}, "--zone needs a value"},
		"empty node":          {[]string{"--node", ""}, "--node is missing"},
		"address with a port": {[]string{"--address", "10.0.0.1:8443"}, "without a port"},
		"no such program":     {[]string{"--binary", "/nowhere"}, "go build"},
		"no such apps":        {[]string{"--apps", "/nowhere"}, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := d.provision(tc.args...)
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(out, tc.says) {
				t.Errorf("%v: %s", err, out)
			}
			if _, err := os.Stat(d.root); !errors.Is(err, fs.ErrNotExist) {
				t.Error("something was written")
			}
		})
	}
}

// TestProvisionHelp: the help names every option that the Vagrantfile uses, and
// the command that comes after.
func TestProvisionHelp(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("scripts/provision: bash is not installed")
	}
	help := must(t, exec.Command("bash", "../scripts/provision", "--help"))
	vagrantfile, err := os.ReadFile("../Vagrantfile")
	if err != nil {
		t.Fatal(err)
	}
	used := regexp.MustCompile(`"(--[a-z-]+)"`).FindAllStringSubmatch(string(vagrantfile), -1)
	if len(used) < 6 {
		t.Fatalf("the Vagrantfile uses only %d options", len(used))
	}
	for _, option := range used {
		if !strings.Contains(help, "\n  "+option[1]+" ") {
			t.Errorf("the help does not tell of %s", option[1])
		}
	}
	if !strings.Contains(help, "tandem join") {
		t.Error("the help does not say how a node joins")
	}
}
