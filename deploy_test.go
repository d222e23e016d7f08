package tandem

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestD8_TheUnitIsHardened: the unit that ships keeps the data to its user, and
// systemd's own judgement of its exposure is 2.0 of 10 or better.
func TestD8_TheUnitIsHardened(t *testing.T) {
	text, err := os.ReadFile("deploy/tandem.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"StateDirectoryMode=0700", "UMask=0077", "SystemCallFilter=@system-service", "MemoryMax="} {
		if !strings.Contains(string(text), "\n"+line) {
			t.Errorf("the unit lacks %s", line)
		}
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("the unit's exposure: systemd-analyze is not installed")
	}
	unit := filepath.Join(t.TempDir(), "tandem.service")
	// systemd looks whether the program is there.
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(text), "/usr/local/bin/tandem", "/bin/true")), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", unit).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
