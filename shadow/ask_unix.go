//go:build !windows

package shadow

import (
	"os"
	"syscall"
)

// Asks are the signals that ask a run for its report.
var Asks = []os.Signal{syscall.SIGUSR1}
