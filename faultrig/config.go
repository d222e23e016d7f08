package faultrig

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"

	"go.yaml.in/yaml/v3"

	"tandem/admin"
	"tandem/graphsim"
)

// configure writes a node's configuration; change, if any, alters it first.
func (f *Fleet) configure(n *Node, change func(map[string]any)) error {
	var join []string
	for _, o := range f.Nodes {
		if o != n {
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
		"listen": n.PeerAt, "advertise": n.PeerAt, "join": join, "bootstrap_expect": f.opts.Nodes,
	}
	if len(peers) > 0 {
		cluster["tls"] = peers
	}
	doc := map[string]any{
		"deployment": deployment,
		"node":       map[string]any{"id": string(n.ID), "region": string(n.Region), "zone": n.Zone, "data_dir": n.DataDir, "capacity": plenty},
		"public": map[string]any{
			"listen": n.IP + ":8443", "url": n.Public, "region_url": f.scheme() + region + ".localhost", "tls": tls, "grace": "5s",
		},
		"cluster": cluster,
		"admin":   door,
		"auth": map[string]any{"profiles": []any{map[string]any{
			"name": "simulated", "openid_url": f.Cloud.OpenIDURL(),
			"issuers": []string{graphsim.IssuerBotFramework, graphsim.IssuerGraph},
		}}},
		"apps":             f.apps(n),
		"pins":             []any{map[string]any{"when": `call.tenant == "` + pinnedTenant + `"`, "zone": pinnedZone}},
		"handle_keys_file": f.file("handle-keys"),
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

// apps: the simulator's calls are answered by the router and judged by the
// simulator; the claimants' calls belong to the rig's own desk.
func (f *Fleet) apps(n *Node) []any {
	bot := f.Cloud.Bot(string(n.ID))
	return []any{
		map[string]any{
			"id": callsApp, "profile": "simulated", "hosting": "service", "answer": "router",
			"answer_with": map[string]any{
				"acceptedModalities": []string{"audio"},
				"mediaConfig":        map[string]any{"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
			},
			"bot": map[string]any{"url": bot.URL, "health_url": bot.HealthURL},
			"graph": map[string]any{
				"base_url": f.Cloud.GraphURL(), "token_url": f.Cloud.TokenURL(), "client_id": callsApp,
				"client_secret_file": f.file("client-secret"),
			},
		},
		map[string]any{
			"id": claimsApp, "profile": "simulated", "hosting": f.opts.Hosting, "answer": "bot",
			"bot": map[string]any{"url": f.Desk.URL(n.ID), "health_url": f.Desk.URL(n.ID) + "health"},
		},
		map[string]any{
			"id": secondApp, "profile": "simulated", "hosting": "service", "answer": "bot",
			"bot": map[string]any{"url": f.Desk.URL(n.ID), "health_url": f.Desk.URL(n.ID) + "health"},
		},
	}
}

// connect makes the client of a node's admin door.
func (f *Fleet) connect(n *Node) (err error) {
	if f.tls != nil {
		n.api, err = admin.NewClient("https://"+n.AdminAt, f.tls.token, f.tls.caFile)
	} else {
		n.api, err = admin.NewClient(n.AdminAt, "", "")
	}
	if err != nil {
		return fmt.Errorf("reaching the admin door of %s: %w", n.ID, err)
	}
	f.onClose(func() error { n.api.Close(); return nil })
	return nil
}

// goRun runs the product's program and gives what it prints.
func goRun(ctx context.Context, binary string, args ...string) (string, error) {
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
