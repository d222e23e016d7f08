package fleet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tandem/ownership"
)

// Extra makes and starts one more node for a round, which is not one of the fleet's; change
// alters its configuration.
func (f *Fleet) Extra(round, i int, change func(map[string]any)) (*Node, error) {
	n, err := f.Spare(round, i, change)
	if err != nil {
		return nil, err
	}
	return n, n.Start()
}

// Joining is the configuration of a node that founds nothing.
func Joining(doc map[string]any) { doc["cluster"].(map[string]any)["bootstrap_expect"] = 0 }

// Spare makes one more node and does not start it.
func (f *Fleet) Spare(round, i int, change func(map[string]any)) (*Node, error) {
	n := &Node{
		ID: ownership.NodeID(fmt.Sprintf("%s-%d", Region, 10+i)), Region: Region, Zone: "x", fleet: f, Binary: f.Binary,
		IP: fmt.Sprint(f.Nodes[0].IP[:strings.LastIndexByte(f.Nodes[0].IP, '.')+1], 10+i+20*round), // the first may have been replaced
	}
	if f.net != nil {
		var err error
		if n.Space, n.IP, err = f.net.add(9 + i + 20*round); err != nil {
			return nil, err
		}
	}
	f.Place(n, n.IP)
	name := fmt.Sprintf("extra-%d-%d", round, i)
	n.DataDir, n.Config, n.LogFile = f.File(name), f.File(name+".yaml"), f.File(name+".log")
	if err := errors.Join(os.MkdirAll(n.DataDir, 0o700), f.Configure(n, change), f.connect(n)); err != nil {
		return nil, err
	}
	f.onClose(func() error { n.Kill(); return nil })
	f.extrasMu.Lock()
	f.extras = append(f.extras, n)
	f.extrasMu.Unlock()
	return n, f.retarget()
}

// Place returns a node its addresses.
func (f *Fleet) Place(n *Node, ip string) {
	n.IP = ip
	n.Public, n.AdminAt, n.PeerAt = f.scheme()+ip+":8443", ip+":8470", ip+":8471"
}

// Resettle writes the configurations anew and tells the cloud, after nodes got
// other addresses or others took their places.
func (f *Fleet) Resettle(change func(map[string]any)) error {
	var errs []error
	for _, n := range f.Nodes {
		errs = append(errs, f.Configure(n, change), f.connect(n))
	}
	return errors.Join(append(errs, f.retarget())...)
}

// CopyData copies a node's data directory, as a snapshot of its disk does.
func CopyData(from, to *Node) error {
	if err := Wipe(to.DataDir); err != nil {
		return err
	}
	if err := os.CopyFS(to.DataDir, os.DirFS(from.DataDir)); err != nil {
		return fmt.Errorf("copying the data of %s: %w", from.ID, err)
	}
	return filepath.WalkDir(to.DataDir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	})
}

// Replace puts another node in the place of one of the fleet's.
func (f *Fleet) Replace(old, now *Node) error {
	for i, n := range f.Nodes {
		if n == old {
			f.Nodes[i] = now
		}
	}
	f.extrasMu.Lock()
	f.extras = append(slices.DeleteFunc(f.extras, func(n *Node) bool { return n == now }), old)
	f.extrasMu.Unlock()
	return f.retarget()
}

// Wipe empties a directory.
func Wipe(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("wiping %s: %w", dir, err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("wiping %s: %w", dir, err)
		}
	}
	return nil
}
