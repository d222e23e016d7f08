package fleet

import (
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Knobs of the load balancer in front of the nodes, as an operator would set
// them.
const (
	checkEvery    = 250 * time.Millisecond
	checkPatience = 500 * time.Millisecond
	outOfService  = 1e-9 // weight of a node that gets nothing
)

// balance keeps the public name pointed at the nodes that answer, as a load
// balancer's health check does: any HTTP answer of the public door will do.
func (f *Fleet) balance() {
	tr := &http.Transport{TLSClientConfig: f.ClientTLS(), DialContext: (&net.Dialer{Timeout: checkPatience}).DialContext, DisableKeepAlives: true}
	client := &http.Client{Transport: tr, Timeout: checkPatience}
	var before []bool
	for Pause(f.ctx, checkEvery) {
		if f.fenced.Load() {
			f.forget()
		}
		if f.retargeted.Swap(false) {
			before = nil
		}
		ok := f.answering(client)
		targets := f.targets() // the nodes first, in the same order
		if !slices.Contains(ok, true) || slices.Equal(ok, before) {
			continue // with nobody there a balancer sends to all
		}
		for i := range ok {
			if !ok[i] {
				targets[i].Weight = outOfService // still a node of the deployment: redirects may name it
			}
		}
		if f.Cloud.SetTargets(targets) == nil {
			before = ok
		}
	}
}

// forget tells the oracle that any node may have lost its partitions by now: a
// repeat then finds an owner that does not know what the one before handed over.
func (f *Fleet) forget() {
	for _, n := range f.everybody() {
		f.Cloud.NodeFenced(string(n.ID))
	}
}

func (f *Fleet) answering(client *http.Client) []bool {
	all := f.everybody()
	out := make([]bool, len(all))
	var wg sync.WaitGroup
	for i, n := range all {
		wg.Go(func() {
			req, err := http.NewRequestWithContext(f.ctx, http.MethodGet, n.Public+"/", http.NoBody)
			if err != nil {
				return
			}
			res, err := client.Do(req)
			if err == nil {
				_ = res.Body.Close() // nothing is read
				out[i] = true
			}
		})
	}
	wg.Wait()
	return out
}
