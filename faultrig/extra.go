package faultrig

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tandem/ownership"
)

// extra makes and starts one more node, which is not one of the fleet's; change
// alters its configuration.
func (s *Stage) extra(i int, change func(map[string]any)) (*Node, error) {
	n, err := s.spare(i, change)
	if err != nil {
		return nil, err
	}
	return n, n.Start()
}

// joining is the configuration of a node that founds nothing.
func joining(doc map[string]any) { doc["cluster"].(map[string]any)["bootstrap_expect"] = 0 }

// spare makes one more node and does not start it.
func (s *Stage) spare(i int, change func(map[string]any)) (*Node, error) {
	f := s.Fleet
	n := &Node{
		ID: ownership.NodeID(fmt.Sprintf("%s-%d", region, 10+i)), Region: region, Zone: "x", fleet: f, binary: f.Binary,
		IP: fmt.Sprint(f.Nodes[0].IP[:strings.LastIndexByte(f.Nodes[0].IP, '.')+1], 10+i+20*s.Round), // the first may have been replaced
	}
	if f.net != nil {
		var err error
		if n.Space, n.IP, err = f.net.add(9 + i + 20*s.Round); err != nil {
			return nil, err
		}
	}
	f.place(n, n.IP)
	name := fmt.Sprintf("extra-%d-%d", s.Round, i)
	n.DataDir, n.Config, n.LogFile = f.file(name), f.file(name+".yaml"), f.file(name+".log")
	if err := errors.Join(os.MkdirAll(n.DataDir, 0o700), f.configure(n, change), f.connect(n)); err != nil {
		return nil, err
	}
	f.onClose(func() error { n.Kill(); return nil })
	f.extrasMu.Lock()
	f.extras = append(f.extras, n)
	f.extrasMu.Unlock()
	return n, f.retarget()
}

// place gives a node its addresses.
func (f *Fleet) place(n *Node, ip string) {
	n.IP = ip
	n.Public, n.AdminAt, n.PeerAt = f.scheme()+ip+":8443", ip+":8470", ip+":8471"
}

// resettle writes the configurations anew and tells the cloud, after nodes got
// other addresses or others took their places.
func (f *Fleet) resettle(change func(map[string]any)) error {
	var errs []error
	for _, n := range f.Nodes {
		errs = append(errs, f.configure(n, change), f.connect(n))
	}
	return errors.Join(append(errs, f.retarget())...)
}

// copyData copies a node's data directory, as a snapshot of its disk does.
func copyData(from, to *Node) error {
	if err := wipe(to.DataDir); err != nil {
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

// replace puts another node in the place of one of the fleet's.
func (f *Fleet) replace(old, now *Node) error {
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
