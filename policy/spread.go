package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"

	"tandem/ownership"
)

// spread ranks the regions for a text by rendezvous hashing: which one is first
// depends on the text and the regions' names, on nothing that two regions could see
// differently, and where a region is added or taken away only its own texts move. The
// hash is a fact of the deployment: change it, and regions of two releases disagree.
//
// The app at place rank of those kept apart gets the region at that rank. Who stands
// in for it are first the regions that none of them has, so that they stay apart
// while there are regions enough.
func spread(regions []ownership.Region, text string, rank, apart int) []ownership.Region {
	type scored struct {
		region ownership.Region
		score  uint64
	}
	all := make([]scored, len(regions))
	for i, r := range regions {
		sum := sha256.Sum256([]byte(string(r) + "\x00" + text))
		all[i] = scored{r, binary.BigEndian.Uint64(sum[:8])}
	}
	slices.SortFunc(all, func(a, b scored) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.region, b.region))
	})
	order := make([]ownership.Region, 0, len(all))
	order = append(order, all[rank].region)
	for i := range all {
		if i >= apart && i != rank {
			order = append(order, all[i].region)
		}
	}
	for i := range min(apart, len(all)) {
		if i != rank {
			order = append(order, all[i].region)
		}
	}
	return order
}

// apartRank is an app's place among those that are kept apart; one that is not named
// goes with the first.
func apartRank(apps []ownership.AppID, app ownership.AppID) int {
	return max(0, slices.Index(lower(apps), lower([]ownership.AppID{app})[0]))
}

func lower(apps []ownership.AppID) []ownership.AppID {
	out := make([]ownership.AppID, len(apps))
	for i, a := range apps {
		out[i] = ownership.AppID(strings.ToLower(string(a)))
	}
	return out
}
