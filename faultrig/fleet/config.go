package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"

	"go.yaml.in/yaml/v3"

	"tandem/admin/client"
	"tandem/faultrig/desk"
	"tandem/graphsim"
	"tandem/ownership"
)

// Configure writes a node's configuration; change, if any, alters it first.
func (f *Fleet) Configure(n *Node, change func(map[string]any)) error {
	var join []string
	for _, o := range f.everybody() {
		if o != n && o.Region == n.Region {
			join = append(join, o.PeerAt)
		}
	}
	tls := map[string]any{"off": true}
	peers := map[string]any{}
	if f.tls != nil {
		tls = f.tls.files(n)
		maps.Copy(peers, tls)
		peers["ca_file"] = f.tls.caFile
		n.env = []string{"SSL_CERT_FILE=" + f.tls.caFile}
	}
	door := map[string]any{"listen": n.AdminAt}
	if f.tls != nil {
		door["tls"], door["tokens_file"] = tls, f.tls.tokensFile
	}
	cluster := map[string]any{
		"listen": n.PeerAt, "advertise": n.PeerAt, "join": join, "bootstrap_expect": f.founders(n), "join_by_certificate": true, // no operator sits beside a run of faults
	}
	if f.opts.Election > 0 {
		cluster["election"] = f.opts.Election.String()
	}
	if f.opts.Lease > 0 {
		cluster["lease"] = f.opts.Lease.String()
	}
	if len(peers) > 0 {
		cluster["tls"] = peers
	}
	doc := map[string]any{
		"deployment": deployment,
		"node":       map[string]any{"id": string(n.ID), "region": string(n.Region), "zone": n.Zone, "data_dir": n.DataDir, "capacity": desk.Plenty},
		"public": map[string]any{
			"listen": n.IP + ":8443", "url": n.Public, "region_url": f.BaseOf(n.Region), "tls": tls, "grace": "5s", "linger": "1s",
		},
		"cluster": cluster,
		"admin":   door,
		"auth": map[string]any{"profiles": []any{map[string]any{
			"name": "simulated", "openid_url": f.Cloud.OpenIDURL(),
			"issuers": []string{graphsim.IssuerBotFramework, graphsim.IssuerGraph},
		}}},
		"apps":             f.apps(n),
		"pins":             []any{map[string]any{"when": `call.tenant == "` + PinnedTenant + `"`, "zone": PinnedZone}},
		"handle_keys_file": f.File("handle-keys"),
	}
	if len(f.Away) > 0 {
		doc["regions"], doc["rules"] = f.regions(n), []any{
			map[string]any{"when": `call.tenant == "` + SoftTenant + `"`, "region": AwayRegion},
			map[string]any{"when": `call.tenant == "` + HardTenant + `"`, "region": AwayRegion, "residency": "hard"},
		}
	}
	if f.opts.Drain > 0 {
		doc["node"].(map[string]any)["drain"] = f.opts.Drain.String()
	}
	if f.opts.Tombs > 0 {
		doc["cluster"].(map[string]any)["tombstones"] = f.opts.Tombs.String()
	}
	if change != nil {
		change(doc)
	}
	text, err := yaml.Marshal(doc)
	if err != nil {
		return fmt.Errorf("configuring node %s: %w", n.ID, err)
	}
	return os.WriteFile(n.Config, text, 0o600)
}

// founders is how many empty nodes found the node's region together.
func (f *Fleet) founders(n *Node) int {
	if n.Region == AwayRegion {
		return len(f.Away)
	}
	const most = 5 // the others join
	for i, o := range f.Nodes {
		if o == n && i >= most {
			return 0
		}
	}
	return min(f.opts.Nodes, most)
}

// Tenants whose calls have their home in the second region.
const (
	SoftTenant = "1fdd12d0-4620-44ed-baec-459b611f84b2" // if it is up
	HardTenant = "77d6e2b4-8f01-4c58-9f1c-1f6a9a0c2b11" // or nowhere
)

// regions names the other region, by the admin door of its first node.
func (f *Fleet) regions(n *Node) []any {
	other, door := ownership.Region(AwayRegion), f.Away[0]
	if n.Region == AwayRegion {
		other, door = Region, f.Nodes[0]
	}
	r := map[string]any{"name": other, "url": f.BaseOf(other), "admin_url": f.scheme() + door.AdminAt}
	if f.tls != nil {
		r["admin_token_file"], r["admin_ca_file"] = f.tls.tokenFile, f.tls.caFile
	}
	return []any{r}
}

// apps: the simulator's calls are answered by the router and judged by the
// simulator; the claimants' calls belong to the rig's own desk.
func (f *Fleet) apps(n *Node) []any {
	bot := f.Cloud.Bot(string(n.ID))
	return []any{
		map[string]any{
			"id": CallsApp, "profile": "simulated", "hosting": "service", "answer": "router",
			"answer_with": map[string]any{
				"acceptedModalities": []string{"audio"},
				"mediaConfig":        map[string]any{"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
			},
			"bot": map[string]any{"url": bot.URL, "health_url": bot.HealthURL},
			"graph": map[string]any{
				"base_url": f.Cloud.GraphURL(), "token_url": f.Cloud.TokenURL(), "client_id": CallsApp,
				"client_secret_file": f.File("client-secret"),
			},
		},
		map[string]any{
			"id": ClaimsApp, "profile": "simulated", "hosting": f.opts.Hosting, "answer": "bot",
			"bot": map[string]any{"url": f.Desk.URL(n.ID), "health_url": f.Desk.URL(n.ID) + "health"},
		},
		map[string]any{
			"id": SecondApp, "profile": "simulated", "hosting": "service", "answer": "bot",
			"bot": map[string]any{"url": f.Desk.URL(n.ID), "health_url": f.Desk.URL(n.ID) + "health"},
		},
	}
}

// connect makes the client of a node's admin door.
func (f *Fleet) connect(n *Node) (err error) {
	if f.tls != nil {
		n.API, err = client.New("https://"+n.AdminAt, f.tls.token, f.tls.caFile)
	} else {
		n.API, err = client.New(n.AdminAt, "", "")
	}
	if err != nil {
		return fmt.Errorf("reaching the admin door of %s: %w", n.ID, err)
	}
	f.onClose(func() error { n.API.Close(); return nil })
	return nil
}

// Program runs the product's program and gives what it prints.
func Program(ctx context.Context, binary string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, binary, args...).Output()
	if err != nil {
		text := ""
		if e := (*exec.ExitError)(nil); errors.As(err, &e) {
			text = string(e.Stderr)
		}
		return "", fmt.Errorf("running %s %v: %w: %s", binary, args, err, text)
	}
	return string(out), nil
}
