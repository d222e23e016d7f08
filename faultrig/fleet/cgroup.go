package fleet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// cgroupDir returns the directory of the cpu controller of cgroup v1 or v2 that
// this process may write to; empty: there is none.
func cgroupDir() string {
	for _, dir := range []string{"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup"} {
		for _, file := range []string{"cpu.cfs_quota_us", "cgroup.subtree_control"} {
			if f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0); err == nil {
				_ = f.Close() // nothing was written
				return dir
			}
		}
	}
	return ""
}

// LimitCPU returns a node so many percent of one core; free takes it back.
func LimitCPU(f *Fleet, n *Node, percent int) (free func() error, err error) {
	parent := cgroupDir()
	dir := filepath.Join(parent, filepath.Base(f.Dir)+"-"+string(n.ID))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("limiting the cpu of %s: %w", n.ID, err)
	}
	const period = 100_000 // microseconds
	quota := period * percent / 100
	write := func(dir, file, text string) error { return os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600) }
	if _, err := os.Stat(filepath.Join(dir, "cpu.cfs_quota_us")); err == nil {
		err = write(dir, "cpu.cfs_quota_us", strconv.Itoa(quota))
		if err != nil {
			return nil, fmt.Errorf("limiting the cpu of %s: %w", n.ID, err)
		}
	} else if err := errors.Join(write(parent, "cgroup.subtree_control", "+cpu"), write(dir, "cpu.max", fmt.Sprintf("%d %d", quota, period))); err != nil {
		return nil, errors.Join(fmt.Errorf("limiting the cpu of %s: %w", n.ID, err), os.Remove(dir))
	}
	free = func() error {
		pid := strconv.Itoa(n.Pid())
		if n.Pid() != 0 {
			if err := write(parent, "cgroup.procs", pid); err != nil {
				return fmt.Errorf("giving %s its cpu back: %w", n.ID, err)
			}
		}
		return os.Remove(dir)
	}
	f.onClose(func() error { _ = os.Remove(dir); return nil }) // free may have done it
	return free, write(dir, "cgroup.procs", strconv.Itoa(n.Pid()))
}
