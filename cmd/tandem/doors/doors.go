// Package doors finds the admin doors of all nodes from one of them.
package doors

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/ownership"
)

// Door is one node's admin door, or why it cannot be asked.
type Door struct {
	Region ownership.Region
	Node   api.SummaryNode // as its region tells of it
	Client *client.Client  // nil where Err is not
	Err    error
}

// Dial makes a client of another door, with the operator's token.
type Dial func(adminURL string) (*client.Client, error)

// All lists the nodes that are not gone, of every region that the asked door knows of or,
// with here, of its own one only: by region and id. The clients other than the asked one
// are the caller's to close: Close.
func All(ctx context.Context, asked *client.Client, dial Dial, here bool) ([]Door, error) {
	self, err := asked.Status(ctx)
	if err != nil {
		return nil, err
	}
	regions, err := asked.Regions(ctx)
	if err != nil {
		return nil, err
	}
	var all []Door
	for _, r := range regions {
		if here && !r.Here {
			continue
		}
		for _, n := range r.List {
			d := Door{Region: r.Name, Node: n}
			switch {
			case n.State == ownership.NodeGone.String():
				continue
			case n.ID == self.Node:
				d.Client = asked
			case n.AdminURL == "":
				d.Err = errors.New("its admin door is on loopback (admin.listen): only its own machine reaches it")
			default:
				d.Client, d.Err = dial(n.AdminURL)
			}
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b Door) int {
		return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Node.ID, b.Node.ID))
	})
	return all, nil
}

// Close lets go of the connections, but for those of the asked door.
func Close(all []Door, asked *client.Client) {
	for _, d := range all {
		if d.Client != nil && d.Client != asked {
			d.Client.Close()
		}
	}
}
