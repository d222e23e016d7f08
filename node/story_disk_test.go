package node

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"tandem/graphsim"
)

// spoil changes one bit of every record that names the tenant; some of them lie
// in pages that are no longer used.
func spoil(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	bad := bytes.ReplaceAll(text, []byte(testTenant), []byte("9"+testTenant[1:]))
	if bytes.Equal(bad, text) {
		t.Fatalf("%s names no tenant", file)
	}
	must(t, os.WriteFile(file, bad, 0o600))
}

// TestF07_ADamagedFileIsRefusedAndTheTextHeals: the node does not start, and
// doing what its last words say brings it back with everything.
func TestF07_ADamagedFileIsRefusedAndTheTextHeals(t *testing.T) {
	long(t, "it takes 8 s")
	t.Parallel()
	s := deploy(t, plan{})
	two := s.seats[1]
	s.settledAfter(graphsim.Load{Rate: 100, MaxCalls: 30})
	two.stop()
	dir := s.path(two.name)
	table := filepath.Join(dir, "table.db")
	spoil(t, table)
	text := two.refused(func(*Config) {})
	says(t, "F07 the table", text, "the data are damaged", "move "+table+" away and start again")

	must(t, os.Rename(table, table+".damaged"))
	two.start()
	s.ready(two)
	s.oneTruth("emea") // it was rebuilt from the log

	two.stop()
	logs, err := filepath.Glob(filepath.Join(dir, "raft", "*.wal"))
	must(t, err)
	for _, f := range logs {
		must(t, os.Truncate(f, 7))
	}
	text = two.refused(func(*Config) {})
	says(t, "F07 the raft log", text, "remove the node from the region, empty its data directory and join it anew")
	must(t, s.seats[0].api().Remove(t.Context(), two.id()))
	must(t, os.RemoveAll(dir))
	two.start()
	s.ready(two)
	s.oneTruth("emea")
}

// settledAfter makes calls and waits until all are over.
func (s *stage) settledAfter(load graphsim.Load) {
	s.t.Helper()
	s.runAll(load)
	s.kept(s.settled())
}
