package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"tandem/node"
)

// Limits of one sync of a small file to the disk. A claim waits for one on a majority of
// the voters; the watchdog warns at a second and ends the node at three.
const (
	syncs    = 20
	slowSync = 20 * time.Millisecond
	badSync  = 200 * time.Millisecond
)

// Machine checks what only the node's own machine shows: its configuration with its
// files, and how long its disk takes.
func Machine(cfg node.Config, now time.Time) []Finding {
	where := "this machine"
	all := []Finding{{Check: "configuration", Where: where, Text: "nothing is wrong"}}
	notices, err := cfg.CheckFiles(now)
	if err = errors.Join(cfg.Check(), err); err != nil {
		all[0] = Finding{Level: Fail, Check: "configuration", Where: where, Text: err.Error(), Do: "tandem config validate --config FILE"}
	}
	for _, n := range append(cfg.Notices(), notices...) {
		all = append(all, Finding{Level: Warn, Check: "configuration", Where: where, Text: n})
	}
	return append(all, Disk(cfg.Node.DataDir))
}

// Disk measures how long a few bytes take to the disk that carries a directory.
func Disk(dir string) Finding {
	f := Finding{Check: "disk", Where: "this machine"}
	took, err := measureSync(dir)
	if err != nil {
		f.Level, f.Text, f.Do = Fail, err.Error(), "the node needs to write there: see the directory's owner, and the disk"
		return f
	}
	slices.Sort(took)
	median, worst := took[len(took)/2], took[len(took)-1]
	f.Text = fmt.Sprintf("%s takes a write to the disk in %s, the slowest of %d in %s", dir, median.Round(10*time.Microsecond), len(took), worst.Round(10*time.Microsecond))
	f.Level, f.Do = judgeSync(median, worst)
	return f
}

func judgeSync(median, worst time.Duration) (Level, string) {
	const do = "every new call waits for the disks of a majority: use a local SSD, and nothing else on it"
	switch {
	case median >= badSync:
		return Fail, do
	case median >= slowSync || worst >= badSync:
		return Warn, do
	}
	return Well, ""
}

// measureSync writes and syncs a file of its own, and takes it away again.
func measureSync(dir string) (took []time.Duration, err error) {
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return nil, fmt.Errorf("writing to %s: %w", filepath.Clean(dir), err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	page := make([]byte, 4096)
	for range syncs {
		begun := time.Now()
		if _, err := f.Write(page); err != nil {
			return nil, fmt.Errorf("writing to %s: %w", dir, err)
		}
		if err := f.Sync(); err != nil {
			return nil, fmt.Errorf("writing to %s: %w", dir, err)
		}
		took = append(took, time.Since(begun))
	}
	return took, nil
}
