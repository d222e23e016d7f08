// Package region runs a region of real processes for benchmarks. It builds the program,
// starts nodes on loopback with a bot beside each that answers at once, and posts to their
// doors what a cloud would.
package region

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"tandem/faultrig/plant"
)

// Program returns the tandem program to measure: the given one, else that of this checkout,
// which it builds into a temporary directory. forget removes the directory.
func Program(ctx context.Context, given string) (path string, forget func() error, err error) {
	if given != "" {
		return given, func() error { return nil }, nil
	}
	dir, err := os.MkdirTemp("", "tandem-bench-")
	if err != nil {
		return "", nil, fmt.Errorf("making room for the program: %w", err)
	}
	forget = func() error { return os.RemoveAll(dir) }
	if path, err = plant.Build(ctx, dir, nil); err != nil {
		return "", nil, errors.Join(err, forget())
	}
	return path, forget, nil
}

// Machine says on what is measured, and how busy it is with all that runs there.
func Machine() string {
	model := "an unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(text), "model name\t: "); ok {
			model, _, _ = strings.Cut(rest, "\n")
		}
	}
	return fmt.Sprintf("%s, %d cores, %s, %s/%s, load %s", model, runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, Load())
}

// Load is how many processes wanted a processor in the last 1, 5 and 15 minutes.
func Load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown" // elsewhere than on Linux
	}
	all := strings.Fields(string(text))
	return strings.Join(all[:min(3, len(all))], " ")
}
