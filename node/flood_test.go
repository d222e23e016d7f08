package node

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/graphsim"
	"tandem/ownership"
)

// TestB105_F44_AFloodAtThePublicDoorStaysThere: hundreds of clients send the
// worst they can to one node's public listener. The region keeps its leader and
// its leases, the admin door answers, and good calls are answered in time.
func TestB105_F44_AFloodAtThePublicDoorStaysThere(t *testing.T) {
	long(t, "it takes 8 s")
	t.Parallel()
	s := deploy(t, plan{secure: true})
	lead := s.leader("emea")
	term := lead.status().Cluster.Term
	stranger, err := s.cloud.Mint(graphsim.TokenOptions{Tenant: testTenant, Key: graphsim.KeyUnknown})
	must(t, err)
	forged, err := s.cloud.Mint(graphsim.TokenOptions{Tenant: testTenant, Key: graphsim.KeyStranger})
	must(t, err)
	fetches := s.cloud.Requests(graphsim.EndpointKeys)

	ctx, stop := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	var sent atomic.Int64
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}, Timeout: 5 * time.Second}
	for i := range 60 {
		token := []string{"", "x.y.z", stranger, forged, strings.Repeat("a.", 4000)}[i%5]
		flood.Go(func() {
			for ctx.Err() == nil {
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, lead.webhook(), strings.NewReader(`{"value":[]}`))
				if err != nil {
					return
				}
				req.Header.Set("Authorization", "Bearer "+token)
				req.Header.Set("Content-Type", "application/json")
				if resp, err := client.Do(req); err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
					sent.Add(1)
				}
			}
		})
	}
	for range 200 { // clients that never end their headers
		flood.Go(func() {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", lead.public)
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, "POST /api/calls HTTP/1.1\r\nHost: x\r\nX-Slow: ")
			<-ctx.Done()
		})
	}
	eventually(t, "a flood", func() error { return not(sent.Load() > 500, "%d requests", sent.Load()) })

	r := s.run(graphsim.Load{Rate: 20, MaxCalls: 20}, func() {
		for range 20 {
			if err := lead.api().Live(t.Context()); err != nil {
				t.Errorf("the admin door during the flood: %v", err)
			}
			if st := lead.status(); !st.Leased {
				t.Errorf("the flooded node has lost its lease")
			}
		}
	})
	stop()
	flood.Wait()
	client.CloseIdleConnections()
	s.kept(r)
	now := lead.status().Cluster
	if now.Leader != ownership.NodeID(lead.name) || now.Term != term {
		t.Errorf("the lead went from %s in term %d to %s in term %d", lead.name, term, now.Leader, now.Term)
	}
	// Unknown keys are asked for once a minute at most, each node by itself.
	if more := s.cloud.Requests(graphsim.EndpointKeys) - fetches; more > 3 {
		t.Errorf("the flood caused %d fetches of the keys", more)
	}
	t.Logf("%d bad requests", sent.Load())
}
