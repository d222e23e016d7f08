package tandem

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// release is what .goreleaser.yaml says of archives and packages.
type release struct {
	Builds   []struct{ Goos, Goarch, Env, Flags, Ldflags []string }
	Archives []struct{ Files []struct{ Src string } }
	Nfpms    []map[string]any
	Sboms    []struct{ Args []string }
}

func readRelease(t *testing.T) (r release) {
	t.Helper()
	text, err := os.ReadFile(".goreleaser.yaml")
	if err == nil {
		err = yaml.Unmarshal(text, &r)
	}
	if err != nil || len(r.Builds) != 1 || len(r.Archives) != 1 || len(r.Nfpms) != 1 {
		t.Fatalf("reading .goreleaser.yaml: %v; %+v", err, r)
	}
	return r
}

// TestReleaseNamesWhatIsThere: what the release's archives and packages take from the tree
// is in it, or is made by scripts/package, and there is one for every platform.
func TestReleaseNamesWhatIsThere(t *testing.T) {
	r := readRelease(t)
	if len(r.Builds[0].Goos) != 3 || len(r.Builds[0].Goarch) != 2 {
		t.Errorf("it builds for %v", r.Builds[0])
	}
	if len(r.Sboms) != 1 || filepath.Join("dist", r.Sboms[0].Args[0]) != "build/tandem.cdx.json" {
		t.Errorf("the SBOM is copied from %v, seen from dist, where goreleaser runs that", r.Sboms)
	}
	var all []string
	for _, f := range r.Archives[0].Files {
		all = append(all, f.Src)
	}
	for _, c := range r.Nfpms[0]["contents"].([]any) {
		all = append(all, c.(map[string]any)["src"].(string))
	}
	for _, s := range r.Nfpms[0]["scripts"].(map[string]any) {
		all = append(all, s.(string))
	}
	for _, src := range all {
		if strings.HasPrefix(src, "build/") {
			continue // TestPackageInstallsStartsAndGoes makes them
		}
		if _, err := os.Stat(src); err != nil {
			t.Errorf(".goreleaser.yaml packs %s: %v", src, err)
		}
	}
}

// buildRelease builds the program in a folder that holds the tree, as .goreleaser.yaml says.
func buildRelease(t *testing.T, tree, program string, environ ...string) {
	t.Helper()
	b := readRelease(t).Builds[0]
	flags := strings.ReplaceAll(strings.Join(b.Ldflags, " "), "{{ .Version }}", "1.2.3")
	c := exec.CommandContext(t.Context(), "go", slices.Concat([]string{"build"}, b.Flags, []string{"-ldflags", flags, "-o", program, "./cmd/tandem"})...)
	c.Dir, c.Env = tree, slices.Concat(os.Environ(), []string{"GOFLAGS="}, b.Env, environ)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("building the release in %s: %v\n%s", tree, err, out)
	}
}

// TestTheSameSourcesMakeTheSameBytes builds the release twice: two folders, two users' homes,
// two time zones, one of them no repository. What was compiled once is taken from Go's
// cache, whose keys hold all that a compiler is told; so a path that gets in compiles anew.
func TestTheSameSourcesMakeTheSameBytes(t *testing.T) {
	if testing.Short() {
		t.Skip("two builds")
	}
	files, err := exec.CommandContext(t.Context(), "git", "ls-files", "-z").Output()
	if err != nil {
		t.Skipf("BUILDS ARE NOT COMPARED: this is no repository: %v", err)
	}
	cache, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	kept := strings.Fields(string(cache))
	elsewhere := filepath.Join(t.TempDir(), "a folder", "elsewhere")
	for _, file := range strings.Split(strings.Trim(string(files), "\x00"), "\x00") {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // taken out, and not committed yet
		}
		to := filepath.Join(elsewhere, file)
		if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	here, there := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
	buildRelease(t, ".", here)
	buildRelease(t, elsewhere, there, "HOME="+t.TempDir(), "TZ=Asia/Tokyo", "GOCACHE="+kept[0], "GOMODCACHE="+kept[1])
	one, err := os.ReadFile(here)
	if err != nil {
		t.Fatal(err)
	}
	two, err := os.ReadFile(there)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one, two) {
		t.Errorf("the same sources made two programs, of %d and %d bytes", len(one), len(two))
	}
}

// nodeYAML is a node by itself, on ports of loopback.
const nodeYAML = `
deployment: packaged
node: {id: solo-1, region: solo}
public: {listen: "127.0.0.1:18443", url: "http://127.0.0.1:18443", tls: {off: true}}
cluster: {listen: "127.0.0.1:18471"}
admin: {listen: "127.0.0.1:18470"}
auth: {profiles: [{name: own, openid_url: "http://127.0.0.1:1/none", issuers: [i]}]}
apps: [{id: 0efc74f7-41c3-47a4-8775-7259bfef4241, profile: own, bot: {url: "http://127.0.0.1:1/"}}]
handle_keys_file: /etc/tandem/handle-keys
`

// TestPackageInstallsStartsAndGoes makes the deb that a release would hold, with nfpm and
// the part of .goreleaser.yaml that is its, installs it on this machine, runs the node as
// the package's user, and purges it. An rpm is made of the same, and looked into.
func TestPackageInstallsStartsAndGoes(t *testing.T) {
	for _, tool := range []string{"bash", "dpkg", "nfpm", "gzip"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("PACKAGES ARE NOT TRIED: %s is not installed", tool)
		}
	}
	if os.Geteuid() != 0 || os.Getenv("CI") == "" && os.Getenv("TANDEM_INSTALL") == "" {
		t.Skip("PACKAGES ARE NOT TRIED: they are installed on this machine by root in CI, or with TANDEM_INSTALL=1")
	}
	for _, path := range []string{"/etc/tandem", "/var/lib/tandem", "/usr/bin/tandem"} {
		if _, err := os.Lstat(path); err == nil {
			t.Skipf("PACKAGES ARE NOT TRIED: %s is there: this machine has a Tandem that the test would purge", path)
		}
	}
	dir := t.TempDir()
	run := func(name string, args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	program := filepath.Join(dir, "tandem")
	buildRelease(t, ".", program)
	run("bash", "scripts/package", program)
	t.Cleanup(func() { _ = os.RemoveAll("build") })
	deb, rpm := pack(t, dir, program, run)
	if info := run("dpkg", "--info", deb); !strings.Contains(info, "Package: tandem") {
		t.Errorf("dpkg reads %s", info)
	}
	if lead, err := os.ReadFile(rpm); err != nil || !bytes.HasPrefix(lead, []byte{0xed, 0xab, 0xee, 0xdb}) {
		t.Errorf("this is no rpm: %v", err)
	}

	t.Cleanup(func() { _ = exec.Command("dpkg", "--purge", "tandem").Run() }) //nolint:noctx // the test's context is over by then
	run("dpkg", "--install", deb)
	run("dpkg", "--install", deb) // again: what it makes is there already
	for path, want := range map[string]string{"/etc/tandem": "750 root tandem", "/var/lib/tandem": "700 tandem tandem"} {
		if got := strings.TrimSpace(run("stat", "-c", "%a %U %G", path)); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	for _, path := range []string{"/usr/share/man/man1/tandem-start.1.gz", "/usr/share/bash-completion/completions/tandem", "/usr/share/doc/tandem/THIRD_PARTY_NOTICES.txt"} {
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("the package lacks %s: %v", path, err)
		}
	}
	if _, err := exec.LookPath("systemd-analyze"); err == nil {
		if said := run("systemd-analyze", "verify", "/usr/lib/systemd/system/tandem.service"); said != "" {
			t.Errorf("systemd says of the unit: %s", said)
		}
	}
	run("tandem", "config", "validate", "--offline", "--config", "/usr/share/doc/tandem/tandem.yaml")
	startInstalled(t, run)

	run("dpkg", "--remove", "tandem")
	if _, err := os.Stat("/var/lib/tandem/table.db"); err != nil {
		t.Errorf("a removal keeps the data: %v", err)
	}
	run("dpkg", "--purge", "tandem")
	for _, path := range []string{"/etc/tandem", "/var/lib/tandem", "/usr/bin/tandem", "/usr/lib/systemd/system/tandem.service"} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("a purge leaves %s", path)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "getent", "passwd", "tandem").Output(); err == nil {
		t.Errorf("a purge leaves the user %s", out)
	}
}

// pack makes a deb and an rpm by the release's description, which nfpm reads strictly.
func pack(t *testing.T, dir, program string, run func(string, ...string) string) (deb, rpm string) {
	t.Helper()
	said := maps.Clone(readRelease(t).Nfpms[0])
	contents := append(slices.Clone(said["contents"].([]any)), map[string]any{"src": program, "dst": said["bindir"].(string) + "/tandem"})
	for _, goreleasers := range []string{"id", "package_name", "file_name_template", "formats", "bindir", "mtime"} {
		delete(said, goreleasers)
	}
	said["name"], said["arch"], said["version"], said["contents"] = "tandem", "amd64", "0.0.1", contents
	text, err := yaml.Marshal(said)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "nfpm.yaml"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	deb, rpm = filepath.Join(dir, "tandem.deb"), filepath.Join(dir, "tandem.rpm")
	for format, to := range map[string]string{"deb": deb, "rpm": rpm} {
		run("nfpm", "package", "--config", filepath.Join(dir, "nfpm.yaml"), "--packager", format, "--target", to)
	}
	return deb, rpm
}

// startInstalled runs the installed program as its user, as the unit would, and stops it.
func startInstalled(t *testing.T, run func(string, ...string) string) {
	t.Helper()
	if err := os.WriteFile("/etc/tandem/tandem.yaml", []byte(nodeYAML), 0o644); err != nil { //nolint:gosec // as an operator would
		t.Fatal(err)
	}
	run("tandem", "keys", "new", "--out", "/etc/tandem/handle-keys")
	run("chown", "tandem:tandem", "/etc/tandem/handle-keys")
	uid, err := strconv.ParseUint(strings.TrimSpace(run("id", "-u", "tandem")), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(strings.TrimSpace(run("id", "-g", "tandem")), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "/usr/bin/tandem", "start", "--config", "/etc/tandem/tandem.yaml")
	c.Cancel, c.WaitDelay = func() error { return c.Process.Signal(syscall.SIGTERM) }, 20*time.Second
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lives := func() error {
		a, err := http.Get("http://127.0.0.1:18470/livez") //nolint:noctx // bounded by the loop
		if err != nil {
			return err
		}
		defer a.Body.Close()
		if body, err := io.ReadAll(a.Body); err != nil || a.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s %w", a.Status, body, err)
		}
		return nil
	}
	until := time.Now().Add(20 * time.Second)
	for err := lives(); err != nil; err = lives() {
		if time.Now().After(until) {
			t.Errorf("the installed node does not live: %v", err)
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("the installed node ended with %v:\n%s", err, said.String())
	}
}
