package region

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"tandem/faultrig/fleet"
)

// Memory is what a node's process holds.
type Memory struct {
	RSS        int64         // bytes, as the kernel counts them
	Files      int64         // of them, pages of files: the store's, which the kernel can take back
	Heap       int64         // bytes that live after a collection
	Allocated  int64         // bytes, since its start
	Cycles     int64         // collections since its start
	WorstPause time.Duration // of the last 256
	GCShare    float64       // of the processors that the collector took, since its start
}

// Memory has a node collect its garbage, and says what is left. Pools outlive one collection,
// so there are two.
func (r *Region) Memory(ctx context.Context, n *fleet.Node) (m Memory, err error) {
	if m.RSS, m.Files, err = resident(n.Pid()); err != nil {
		return m, fmt.Errorf("reading the memory of %s: %w", n.ID, err)
	}
	if err := r.read(ctx, n, "/debug/pprof/heap?gc=1", discard); err != nil {
		return m, err
	}
	err = r.read(ctx, n, "/debug/pprof/heap?gc=1&debug=1", func(body io.Reader) error {
		return lines(body, func(line string) {
			name, value, ok := strings.Cut(strings.TrimPrefix(line, "# "), " = ")
			if !ok {
				return
			}
			whole, _ := strconv.ParseInt(value, 10, 64) // what is none is told below
			switch name {
			case "HeapAlloc":
				m.Heap = whole
			case "TotalAlloc":
				m.Allocated = whole
			case "NumGC":
				m.Cycles = whole
			case "PauseNs":
				m.WorstPause = worst(value)
			case "GCCPUFraction":
				m.GCShare, _ = strconv.ParseFloat(value, 64) // Go's own
			}
		})
	})
	if err == nil && m.Heap == 0 {
		err = fmt.Errorf("reading the heap of %s: its door tells none", n.ID)
	}
	return m, err
}

// worst is the longest of a list of pauses in nanoseconds, as in [12 3 …].
func worst(list string) (longest time.Duration) {
	for _, one := range strings.Fields(strings.Trim(list, "[]")) {
		ns, _ := strconv.ParseInt(one, 10, 64) // Go's own
		longest = max(longest, time.Duration(ns))
	}
	return longest
}

// resident reads what the kernel counts as a process's memory, and how much of that is files'.
func resident(pid int) (all, files int64, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	err = lines(f, func(line string) {
		name, value, _ := strings.Cut(line, ":")
		kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64) // the kernel's own
		switch name {
		case "VmRSS":
			all = kib << 10
		case "RssFile":
			files = kib << 10
		}
	})
	return all, files, err
}

// Metric adds up all series of a metric of a node.
func (r *Region) Metric(ctx context.Context, n *fleet.Node, name string) (sum float64, err error) {
	err = r.read(ctx, n, "/metrics", func(body io.Reader) error {
		return lines(body, func(line string) {
			rest, ok := strings.CutPrefix(line, name)
			if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
				return
			}
			v, _ := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64) // the door's own
			sum += v
		})
	})
	return sum, err
}

// Profile writes a profile of a node to a file, as in heap or profile?seconds=10.
func (r *Region) Profile(ctx context.Context, n *fleet.Node, what, file string) error {
	return r.read(ctx, n, "/debug/pprof/"+what, func(body io.Reader) error {
		text, err := io.ReadAll(body)
		if err != nil {
			return err
		}
		return os.WriteFile(file, text, 0o600)
	})
}

// read asks a node's admin door for what the client does not know. It may take longer than
// an answer at the public door.
func (r *Region) read(ctx context.Context, n *fleet.Node, path string, each func(io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.AdminAt+path, http.NoBody)
	if err != nil {
		return err
	}
	res, err := (&http.Client{Transport: r.http.Transport}).Do(req)
	if err != nil {
		return fmt.Errorf("asking %s for %s: %w", n.ID, path, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("asking %s for %s: it answered %d", n.ID, path, res.StatusCode)
	}
	if err := each(res.Body); err != nil {
		return fmt.Errorf("asking %s for %s: %w", n.ID, path, err)
	}
	return nil
}

// Answers reports whether a node's admin door answers.
func (r *Region) Answers(ctx context.Context, n *fleet.Node) bool {
	return r.read(ctx, n, "/livez", discard) == nil
}

// discard reads all and keeps nothing.
func discard(body io.Reader) error {
	_, err := io.Copy(io.Discard, body)
	return err
}

// Disk adds up the files of a node's data directory, by the first part of their path there.
func Disk(n *fleet.Node) (map[string]int64, error) {
	sizes := map[string]int64{}
	err := filepath.WalkDir(n.DataDir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil //nolint:nilerr // a file that has just gone takes no room
		}
		info, err := e.Info()
		if err != nil {
			return nil //nolint:nilerr // the same
		}
		rel, err := filepath.Rel(n.DataDir, path)
		if err != nil {
			return err
		}
		top, _, _ := strings.Cut(rel, string(filepath.Separator))
		sizes[top] += info.Size()
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking at the disk of %s: %w", n.ID, err)
	}
	return sizes, nil
}

func lines(from io.Reader, each func(string)) error {
	s := bufio.NewScanner(from)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		each(s.Text())
	}
	return s.Err()
}
