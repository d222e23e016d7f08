package node

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestO21_OneDeadNodeIsNotItsRegion: the node whose admin door the other region's
// configuration names dies. Its region has a quorum and serves: it stays up, by a
// hard rule and by a soft one, because it has told of its other nodes' doors.
func TestO21_OneDeadNodeIsNotItsRegion(t *testing.T) {
	long(t, "it takes 8 s, longer than a region needs to be called down")
	t.Parallel()
	s := deploy(t, plan{regions: []string{"emea", "amer"}, shape: func(x *seat, c *Config) {
		inProcess(x, c)
		c.Rules = []Rule{
			{When: `call.tenant == "` + tenantOf(1) + `"`, Region: "amer", Residency: "hard"},
			{When: "true", Region: "amer"},
		}
	}})
	emea, amer := s.of("emea")[0], s.of("amer")
	eventually(t, "emea knows amer's other doors", func() error {
		sum, err := amer[0].api().Summary(t.Context())
		if err != nil {
			return err
		}
		return not(len(sum.Doors) == 3, "amer tells of %v", sum.Doors)
	})
	var asOf time.Time
	eventually(t, "a look after amer told of all of them", func() error {
		r := emea.node.regions.Regions()[0]
		if asOf.IsZero() {
			asOf = r.AsOf
		}
		return not(r.AsOf.Sub(asOf) > 2*time.Second, "the last was at %s", r.AsOf)
	})
	dead := time.Now()
	amer[0].stop()
	eventually(t, "looks for longer than a region is given, none of them bad", func() error {
		r := emea.node.regions.Regions()[0]
		if !r.Healthy {
			t.Fatalf("%s after one of three nodes died the region is called down: %+v", time.Since(dead), r)
		}
		return not(r.AsOf.Sub(dead) > 5*time.Second && strings.Contains(r.Error, "did not answer"), "%+v", r)
	})
	for _, tenant := range []string{tenantOf(0), tenantOf(1)} {
		id, token := newCall(), s.token(tenant)
		a := s.post(emea.webhook(), token, sample(t, incoming, id))
		if a.status != http.StatusFound || !strings.HasPrefix(a.location(), regionURL("amer")) {
			t.Errorf("a call of amer posted in emea: %d %s %s", a.status, a.location(), a.body)
			continue
		}
		a = s.post(amer[1].follow(a.location()), token, sample(t, incoming, id))
		if a.status != http.StatusAccepted && a.status != http.StatusFound {
			t.Errorf("at amer: %d %s", a.status, a.body)
		}
		if _, here := emea.node.table.Call(id); here {
			t.Error("I1: it was claimed in emea, too")
		}
		// Hung up before the answer: the end is carried there, for the cloud need not
		// follow a redirect of it.
		if a = s.post(emea.webhook(), token, endOf(id)); a.status != http.StatusAccepted && a.status != http.StatusOK {
			t.Errorf("the end of a call of amer posted in emea: %d %s %s", a.status, a.location(), a.body)
			continue
		}
		eventually(t, "the end in amer's table", func() error {
			k, ok := amer[2].node.table.Call(id)
			return not(ok && k.State.String() == "ended", "%+v", k)
		})
	}
}
