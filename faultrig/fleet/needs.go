package fleet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Need is something of the machine that a scenario cannot do without.
type Need int

// The needs of scenarios.
const (
	NeedDisks   Need = iota // ext4 on loop devices: root, mkfs.ext4, mount
	NeedNetwork             // network namespaces: root, ip, nft
	NeedStrace              // faults in system calls: root, strace
	NeedFreeze              // fsfreeze
	NeedCgroup              // the cpu controller of cgroup v1 or v2
)

var needTools = map[Need][]string{
	NeedDisks:   {"mkfs.ext4", "mount", "umount"},
	NeedNetwork: {"ip", "nft"},
	NeedStrace:  {"strace"},
	NeedFreeze:  {"fsfreeze"},
	NeedCgroup:  nil,
}

// Missing says why this machine cannot meet the needs; empty: it can.
func Missing(needs []Need) string {
	for _, n := range needs {
		if os.Geteuid() != 0 {
			return "it needs root"
		}
		for _, tool := range needTools[n] {
			if LookTool(tool) == "" {
				return tool + " is not installed"
			}
		}
		if n == NeedCgroup && cgroupDir() == "" {
			return "there is no writable cgroup with the cpu controller"
		}
	}
	return ""
}

// LookTool finds a program, also where only root's path leads.
func LookTool(name string) string {
	if p, err := exec.LookPath(name); err == nil {
		return p
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		p := filepath.Join(dir, name)
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return ""
}

// tool runs a program of the machine and gives its output in the error.
func tool(name string, args ...string) error {
	path := LookTool(name)
	if path == "" {
		return fmt.Errorf("running %s: it is not installed", name)
	}
	out, err := exec.CommandContext(context.Background(), path, args...).CombinedOutput() // clean-up must run after any context
	if err != nil {
		return fmt.Errorf("running %s %v: %w: %s", name, args, err, out)
	}
	return nil
}
