package fleet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Clean removes what rigs that were killed left behind: processes, mounts,
// network namespaces, bridges and directories. Rigs that still run are left
// alone. It says what it removed.
func Clean() (removed []string, err error) {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"-*"))
	if err != nil {
		return nil, err
	}
	running := false
	var errs []error
	for _, dir := range dirs {
		if rig := pidIn(filepath.Join(dir, "rig.pid")); rig != os.Getpid() && alive(rig, "") {
			running = true
			continue
		}
		pids, _ := filepath.Glob(filepath.Join(dir, "*.pid")) // the pattern is good
		for _, f := range pids {
			if pid := pidIn(f); filepath.Base(f) != "rig.pid" && alive(pid, dir) {
				errs = append(errs, syscall.Kill(pid, syscall.SIGKILL))
				removed = append(removed, fmt.Sprintf("process %d", pid))
			}
		}
		mounts, _ := filepath.Glob(filepath.Join(dir, "*")) // the pattern is good
		for _, m := range mounts {
			_ = tool("fsfreeze", "-u", m) // one that is frozen cannot be unmounted
			if unix.Unmount(m, unix.MNT_DETACH) == nil {
				removed = append(removed, "mount "+m)
			}
		}
		errs = append(errs, os.RemoveAll(dir))
		removed = append(removed, dir)
	}
	if !running && LookTool("ip") != "" {
		removed = append(removed, cleanNetwork()...)
	}
	return removed, errors.Join(errs...)
}

// cleanNetwork removes the namespaces and bridges of rigs.
func cleanNetwork() (removed []string) {
	spaces, _ := filepath.Glob("/var/run/netns/trig*") // the pattern is good
	for _, s := range spaces {
		if tool("ip", "netns", "del", filepath.Base(s)) == nil {
			removed = append(removed, "namespace "+filepath.Base(s))
		}
	}
	links, _ := filepath.Glob("/sys/class/net/trig*") // the pattern is good
	for _, l := range links {
		if tool("ip", "link", "del", filepath.Base(l)) == nil {
			removed = append(removed, "link "+filepath.Base(l))
		}
	}
	return removed
}

func pidIn(file string) int {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return pid
}

// alive reports whether the process runs, and, with a mention, whether its
// command line names it: pids are used again.
func alive(pid int, mention string) bool {
	if pid <= 0 {
		return false
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && len(line) > 0 && strings.Contains(string(line), mention)
}
