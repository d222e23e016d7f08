// Package service is what looks after a node's process: systemd, which is told that the node
// is ready and alive, or the service control manager of Windows, which also says when to
// stop. A process that nobody looks after runs as in a terminal.
package service

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// Controls are what a running node tells its supervisor, and is told by it.
type Controls struct {
	Reload   <-chan struct{} // the configuration is to be read again
	Ready    func()          // the doors are open
	Stopping func()          // a stop was asked for and has begun
	Log      io.Writer       // where the node's log goes; nil: standard error, which somebody reads
	// Alive is called with a question, once: while the answer is nil, the supervisor is
	// told that the process lives. It returns when ctx ends, or at once where nobody asks.
	Alive func(ctx context.Context, ask func(context.Context) error)
}

// Spec is a service of Windows.
type Spec struct {
	Name    string // of the service
	Config  string // absolute path of the node's configuration
	Account string // it runs as; empty: NT SERVICE\Name, which has no password and no rights but its own
}

// DefaultName is the service's where nobody gives it another, and its source in the event
// log.
const DefaultName = "Tandem"

// ErrElsewhere is what the verbs answer on other systems.
var ErrElsewhere = errors.New("services of this kind are Windows' own; with systemd: systemctl enable --now tandem (deploy/tandem.service)")

// ConfigFile is where a packaged node has its configuration.
func ConfigFile() string {
	if runtime.GOOS == "windows" {
		return filepath.Join(os.Getenv("ProgramData"), "Tandem", "tandem.yaml")
	}
	return "/etc/tandem/tandem.yaml"
}
