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
type desk struct{ binary, apps, desk, secrets, root string }

func newDesk(t *testing.T, binary string) desk {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("scripts/provision: bash is not installed")
	}
	folder := t.TempDir()
	d := desk{binary, filepath.Join(folder, "apps.yaml"), filepath.Join(folder, "desk"), filepath.Join(folder, "emea-1"), filepath.Join(folder, "machine")}
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
		"--secrets", d.secrets, "--apps", d.apps, "--root", d.root, "--region-url", "https://emea.bot.test:8443",
		"--other", "amer=https://amer.bot.test:8443", "--first",
	}, more...)...))
}

// sign makes the secrets of a machine, as one does far from the machine.
func (d desk) sign(more ...string) (string, error) {
	return run(exec.Command("bash", append([]string{
		"../scripts/sign", "--binary", d.binary, "--desk", d.desk, "--out", d.secrets,
		"--node", "emea-1", "--region", "emea", "--address", "10.77.1.1", "--region-url", "https://emea.bot.test:8443",
	}, more...)...))
}

// TestProvision sets a machine up below a folder, twice: what must be secret is,
// and the second time keeps the certificates and the keys.
func TestProvision(t *testing.T) {
	d := newDesk(t, buildTandem(t))
	if out, err := d.sign(); err != nil {
		t.Fatalf("signing: %v\n%s", err, out)
	}
	if out, err := d.provision(); err != nil {
		t.Fatalf("the first time: %v\n%s", err, out)
	}
	kept := []string{"etc/tandem/tls/ca.crt", "etc/tandem/tls/node.crt", "etc/tandem/tls/node.key",
		"etc/tandem/tls/public.crt", "etc/tandem/tls/public.key", "etc/tandem/tokens.yaml", "etc/tandem/handle-keys"}
	first := map[string]string{}
	for name, mode := range map[string]fs.FileMode{
		"usr/local/bin/tandem":      0o755,
		"etc/tandem":                fs.ModeDir | 0o750,
		"etc/tandem/tls":            fs.ModeDir | 0o750,
		"etc/tandem/tls/ca.crt":     0o640,
		"etc/tandem/tls/node.crt":   0o640,
		"etc/tandem/tls/node.key":   0o600,
		"etc/tandem/tls/public.crt": 0o640,
		"etc/tandem/tls/public.key": 0o600,
		"etc/tandem/tokens.yaml":    0o600,
		"etc/tandem/handle-keys":    0o600,
		"etc/tandem/tandem.yaml":    0o640,
		"var/lib/tandem":            fs.ModeDir | 0o700,
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
	serves(t, d, "10.77.1.1", "emea.bot.test")
	keysOf(t, d)
	if text, err := os.ReadFile(filepath.Join(d.root, "etc/tandem/tandem.yaml")); err != nil || !strings.Contains(string(text), "tokens_file: "+d.root+"/etc/tandem/tokens.yaml") {
		t.Errorf("the admin door is open from the start: %v\n%s", err, text)
	}

	// The folder has been taken away, as it should be, and an app was added.
	if err := os.RemoveAll(d.secrets); err != nil {
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

// serves: the certificate of the public door is good for a TLS server under these
// names, by another authority than the nodes'; and it is no node's identity.
func serves(t *testing.T, d desk, names ...string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(d.root, "etc/tandem/tls", name) }
	pair, err := tls.LoadX509KeyPair(at("public.crt"), at("public.key"))
	if err != nil {
		t.Fatal(err)
	}
	if len(pair.Leaf.URIs) > 0 || slices.Contains(pair.Leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		t.Errorf("the public door shows an identity: %v", pair.Leaf.URIs)
	}
	for file, good := range map[string]bool{filepath.Join(d.desk, "trial/ca.pem"): true, at("ca.crt"): false} {
		ca, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(ca)
		for _, name := range names {
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); (err == nil) != good {
				t.Errorf("as a server named %s, by %s: %v", name, file, err)
			}
		}
	}
}

// keysOf: of all private keys the machine has its own two, each once, and the
// folder held nothing that signs for others.
func keysOf(t *testing.T, d desk) {
	t.Helper()
	for _, root := range []string{d.root, d.secrets} {
		keys := map[string]string{}
		if err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() || strings.HasSuffix(path, "/bin/tandem") {
				return err
			}
			text, err := os.ReadFile(path)
			if strings.Contains(string(text), "PRIVATE KEY") {
				keys[filepath.Base(path)] = string(text)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if len(keys) != 2 || keys["node.key"] == "" || keys["public.key"] == "" || keys["node.key"] == keys["public.key"] {
			t.Errorf("%s holds %d private keys", root, len(keys))
		}
	}
}

// TestD11_OnlyPairsAreCopied: a folder with an authority's key is not taken, and a
// certificate of one's own goes to the public door.
func TestD11_OnlyPairsAreCopied(t *testing.T) {
	d := newDesk(t, buildTandem(t))
	own := filepath.Join(t.TempDir(), "own.pem")
	write(t, own, "a certificate of a public authority")
	if out, err := d.sign("--public-cert", own); err == nil || !strings.Contains(out, "needs --public-key") {
		t.Errorf("a certificate without its key: %v\n%s", err, out)
	}
	if out, err := d.sign("--public-cert", own, "--public-key", own); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if text, err := os.ReadFile(filepath.Join(d.secrets, "public.crt")); err != nil || string(text) != "a certificate of a public authority" {
		t.Errorf("the public door got %q, %v", text, err)
	}
	if _, err := os.Stat(filepath.Join(d.desk, "trial")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("an authority for trials was made, too")
	}
	if out, err := d.sign(); err == nil || !strings.Contains(out, "is there already") {
		t.Errorf("a second time: %v\n%s", err, out)
	}
	key, err := os.ReadFile(filepath.Join(d.desk, "cluster/ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(d.secrets, "ca-key.pem"), string(key))
	if out, err := d.provision(); err == nil || !strings.Contains(out, "stays where it signs") {
		t.Errorf("a folder with the authority's key: %v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(d.root, "etc/tandem/tls/node.crt")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("something of it was installed")
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
	used := regexp.MustCompile(`"(--[a-z-]+)",`).FindAllStringSubmatch(string(vagrantfile), -1)
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
