package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"strconv"
	"strings"
)

// Found founds the region of this node, with the node as its first. It is done once
// in the life of a region; the other nodes join. It is refused with
// ownership.ErrConflict where there is a region already: this node has data, or a
// node of its join list does.
func (n *Node) Found(ctx context.Context) error { return n.region.Found(ctx) }

// shared are the settings that must be equal on all nodes of a region, by key. What
// is long is told by its hash: it is only compared.
func (c Config) shared() map[string]string {
	out := map[string]string{
		"cluster.lease":      c.Cluster.Lease.String(),
		"cluster.election":   c.Cluster.Election.String(),
		"cluster.tombstones": c.Cluster.Tombstones.String(),
		"public.region_url":  c.Public.RegionURL,
		"apps":               strconv.Itoa(len(c.Apps)),
	}
	maps.Copy(out, c.digests())
	if c.Cluster.JoinByCert { // what is not set, older software does not tell of
		out["cluster.join_by_certificate"] = "true"
	}
	var regions []string
	for _, r := range c.Regions {
		regions = append(regions, r.Name+"="+r.URL)
	}
	out["regions"] = strings.Join(regions, ",")
	for _, a := range c.Apps {
		at := "apps." + a.ID
		out[at+".hosting"], out[at+".answer"], out[at+".profile"] = a.Hosting, a.Answer, a.Profile
		out[at+".silence"] = a.Silence.String()
	}
	return out
}

func digest(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "" // it is made of strings and numbers
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}
