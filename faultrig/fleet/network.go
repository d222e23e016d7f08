package fleet

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
)

// network is a bridge of its own, and a namespace for each node on it.
type network struct {
	fleet   *Fleet
	name    string // of the bridge, and the beginning of all other names
	subnet  string // 10.x.y
	gateway string // the rig, the cloud and the desk
	spaces  []string
}

func newNetwork(f *Fleet) (*network, error) {
	b := make([]byte, 2)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	n := &network{fleet: f, name: fmt.Sprintf("trig%02x%02x", b[0], b[1]), subnet: fmt.Sprintf("10.%d.%d", b[0], b[1])}
	n.gateway = n.subnet + ".254"
	f.onClose(n.close)
	return n, errors.Join(
		tool("ip", "link", "add", n.name, "type", "bridge"),
		tool("ip", "addr", "add", n.gateway+"/24", "dev", n.name),
		tool("ip", "link", "set", n.name, "up"),
	)
}

// add makes the namespace of a node.
func (n *network) add(i int) (space, ip string, err error) {
	space, ip = fmt.Sprintf("%s-%d", n.name, i+1), fmt.Sprintf("%s.%d", n.subnet, i+1)
	outer := fmt.Sprintf("%sv%d", n.name, i+1)
	n.spaces = append(n.spaces, space)
	for _, args := range [][]string{
		{"netns", "add", space},
		{"link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space},
		{"link", "set", outer, "master", n.name, "up"},
		{"-n", space, "addr", "add", ip + "/24", "dev", "eth0"},
		{"-n", space, "link", "set", "eth0", "up"},
		{"-n", space, "link", "set", "lo", "up"},
	} {
		if err := tool("ip", args...); err != nil {
			return "", "", err
		}
	}
	return space, ip, n.nft(space, "add table inet rig; add chain inet rig in { type filter hook input priority 0; }")
}

func (n *network) close() error {
	for _, s := range n.spaces {
		_ = tool("ip", "netns", "del", s) // a half-made one
	}
	return tool("ip", "link", "del", n.name)
}

// nft runs rules that are parted by semicolons outside of braces.
func (n *network) nft(space, rules string) error {
	return tool("ip", append([]string{"netns", "exec", space, "nft"}, strings.Fields(rules)...)...)
}

// Deaf makes a node lose what comes from another one: one direction of a link.
func (f *Fleet) Deaf(to, from *Node) error {
	f.fenced.Store(true)
	f.forget()
	return f.net.nft(to.Space, "add rule inet rig in ip saddr "+from.IP+" drop")
}

// Sunder loses everything between two groups of nodes.
func (f *Fleet) Sunder(some, others []*Node) error {
	var errs []error
	for _, a := range some {
		for _, b := range others {
			errs = append(errs, f.Cut(a, b))
		}
	}
	return errors.Join(errs...)
}

// Cut loses everything between two nodes.
func (f *Fleet) Cut(a, b *Node) error { return errors.Join(f.Deaf(a, b), f.Deaf(b, a)) }

// Lossy loses a share of what comes to a node from the other nodes, in percent.
func (f *Fleet) Lossy(n *Node, percent int) error {
	var errs []error
	for _, o := range f.Others(n) {
		errs = append(errs, f.net.nft(n.Space, fmt.Sprintf("add rule inet rig in ip saddr %s numgen random mod 100 < %d drop", o.IP, percent)))
	}
	return errors.Join(errs...)
}

// Narrow bounds what a node may send, in bits a second, with a queue of 200 ms.
func (f *Fleet) Narrow(n *Node, rate string) error {
	return tool("ip", "netns", "exec", n.Space, "tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", rate, "burst", "16kb", "latency", "200ms")
}

// Widen takes Narrow back.
func (f *Fleet) Widen(n *Node) error {
	return tool("ip", "netns", "exec", n.Space, "tc", "qdisc", "del", "dev", "eth0", "root")
}

// Mend takes all cuts and losses back.
func (f *Fleet) Mend() error {
	f.forget()
	f.fenced.Store(false)
	var errs []error
	for _, s := range f.net.spaces {
		errs = append(errs, f.net.nft(s, "flush chain inet rig in"))
	}
	return errors.Join(errs...)
}
