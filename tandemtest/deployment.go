package tandemtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"tandem/graphsim"
	"tandem/node"
)

// App is the registration that the simulated cloud calls.
const App = "0efc74f7-41c3-47a4-8775-7259bfef4241"

const (
	region    = "solo"
	name      = "solo-1"
	regionURL = "http://" + region + ".localhost" // the cloud resolves it to the node (RFC 6761)
	secret    = "good at the simulated cloud only"
)

// Deployment is one real node, with a bot, and a simulated cloud that calls it.
type Deployment struct {
	cloud                  *graphsim.Cloud
	node                   *node.Node
	dir                    string
	options                Options
	replies                graphsim.Replies
	rung                   int    // calls that the cloud was asked for
	public, admin, cluster string // addresses, which outlive a restart
}

// Start starts a node beside the bot at url, with its data in dir, and returns once it takes
// calls. End it with Stop.
func Start(ctx context.Context, dir, url string, o Options) (*Deployment, error) {
	d := &Deployment{dir: dir, options: o.filled(), public: "127.0.0.1:0", admin: "127.0.0.1:0", cluster: "127.0.0.1:0"}
	if err := d.start(ctx, url); err != nil {
		d.Stop()
		return nil, fmt.Errorf("starting a node and a cloud to try the bot: %w", err)
	}
	return d, nil
}

func (d *Deployment) path(name string) string { return filepath.Join(d.dir, name) }

func (d *Deployment) start(ctx context.Context, url string) (err error) {
	rates := graphsim.Kind()
	if d.options.Unkind {
		rates = graphsim.Unkind()
		rates.BotFails = 0 // what is refused, the bot refused
	}
	answering := graphsim.AnswerByBot
	if d.options.Answer == "router" {
		answering = graphsim.AnswerByRouter
	}
	cloud := graphsim.Config{
		Rates: &rates, Answering: answering, RegionURLs: map[string]string{region: regionURL},
		Apps:     []graphsim.App{{ID: App, ClientSecret: secret, Pinned: d.options.Hosting == "app"}},
		Foreign:  &graphsim.Foreign{URL: url, HealthURL: d.options.health(url)},
		Switches: graphsim.Switches{KeepKey: true}, GaveUp: d.replies.GaveUp,
		Timings: graphsim.Timings{TalkMin: max(500*time.Millisecond, d.options.talk), TalkMax: max(2*time.Second, d.options.talk), Attempts: d.options.attempts, Clock: d.options.clock, RecordingClock: 15 * time.Second},
	}
	if d.cloud, err = graphsim.Start(context.WithoutCancel(ctx), cloud); err != nil {
		return err
	}
	err = errors.Join(
		os.WriteFile(d.path("client-secret"), []byte(secret), 0o600),
		os.WriteFile(d.path("handle-keys"), []byte("k1:Zm9yIHRoZSB0ZXN0cyBvZiBib3RzIG9uIGxvb3BiYWNr\n"), 0o600))
	if err != nil {
		return err
	}
	if err := d.startNode(ctx, true); err != nil {
		return err
	}
	return d.cloud.SetTargets([]graphsim.Target{{Region: region, Node: name, URL: "http://" + d.public}})
}

func (d *Deployment) startNode(ctx context.Context, found bool) error {
	c, err := d.config(ctx)
	if err != nil {
		return err
	}
	if d.node, err = node.Start(ctx, c); err != nil {
		return err
	}
	d.public, d.admin, d.cluster = d.node.PublicAddr(), d.node.AdminAddr(), d.node.ClusterAddr()
	if found {
		if err := d.node.Found(ctx); err != nil {
			return err
		}
	}
	return d.node.Ready(ctx)
}

func (d *Deployment) config(ctx context.Context) (node.Config, error) {
	c := node.Defaults()
	c.Deployment, c.HandleKeysFile = "tests-of-a-bot", d.path("handle-keys")
	c.Node = node.Self{ID: name, Region: region, DataDir: d.path("data"), Capacity: 1000}
	public, err := (&net.ListenConfig{}).Listen(ctx, "tcp", d.public)
	if err != nil {
		return c, err
	}
	d.public = public.Addr().String()
	c.PublicListener, c.Public.Listen, c.Public.URL, c.Public.RegionURL = public, d.public, "http://"+d.public, regionURL
	c.Public.TLS.Off = true
	c.Cluster.Listen, c.Admin.Listen = d.cluster, d.admin
	c.Auth.Profiles = []node.Profile{{
		Name: "simulated", OpenIDURL: d.cloud.OpenIDURL(), Issuers: []string{graphsim.IssuerBotFramework, graphsim.IssuerGraph},
	}}
	bot := d.cloud.Bot(name)
	c.Apps = []node.App{{
		ID: App, Profile: "simulated", Hosting: d.options.Hosting, Answer: d.options.Answer,
		AnswerWith: map[string]any{
			"acceptedModalities": []string{"audio"},
			"mediaConfig":        map[string]any{"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
		},
		Bot:   node.AppBot{URL: bot.URL, HealthURL: bot.HealthURL, Secret: d.options.Secret},
		Graph: node.AppGraph{BaseURL: d.cloud.GraphURL(), TokenURL: d.cloud.TokenURL(), ClientID: App, ClientSecretFile: d.path("client-secret")},
	}}
	c.Logger, c.Version = slog.New(d.replies.Hear(slog.DiscardHandler)).With("node", name), "tandemtest"
	c.Fatal = func(error) {} // the report tells of what it brought
	if d.options.shape != nil {
		d.options.shape(&c)
	}
	return c, nil
}

// Calls has the cloud make n calls and waits for their ends. restart: the node is stopped
// and started anew once they are under way, so that the bot is told `adopted`.
func (d *Deployment) Calls(ctx context.Context, n int, restart bool) error {
	if err := d.ring(ctx, n); err != nil {
		return err
	}
	if restart {
		if err := d.untilAnswered(ctx); err != nil {
			return err
		}
		if err := d.Restart(ctx); err != nil {
			return err
		}
	}
	return d.cloud.Settle(ctx)
}

// untilAnswered waits until no call rings: a region of one node that starts anew keeps
// nobody's 5 s.
func (d *Deployment) untilAnswered(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if r := d.cloud.Report(); r.Answered+r.Rejected+r.HungUp+r.AnsweredLate+r.Bot.Unanswered >= d.rung {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting until all calls are answered: %w", ctx.Err())
		}
	}
}

// ring has the cloud make n calls, which go on when it returns.
func (d *Deployment) ring(ctx context.Context, n int) error {
	d.rung += n
	return d.cloud.Run(ctx, graphsim.Load{Rate: 20, MaxCalls: n})
}

// Restart stops the node in order and starts it again, beside the living bot.
func (d *Deployment) Restart(ctx context.Context) error {
	if err := d.node.Stop(ctx); err != nil {
		return fmt.Errorf("stopping the node: %w", err)
	}
	if err := d.startNode(ctx, false); err != nil {
		return fmt.Errorf("starting the node anew: %w", err)
	}
	return nil
}

// End has an operator end a call, so that the bot is told `lost`.
func (d *Deployment) End(ctx context.Context, call string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, "http://"+d.admin+"/v1/calls/"+call, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ending call %s: %w", call, err)
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("ending call %s: the node answered %d", call, res.StatusCode)
	}
	return nil
}

// Report is what the cloud saw, of the bot in its field Bot.
func (d *Deployment) Report() graphsim.Report { return d.cloud.Report() }

// Stop ends the node and the cloud.
func (d *Deployment) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if d.node != nil {
		_ = d.node.Stop(ctx) // one that was stopped already says nothing new
	}
	if d.cloud != nil {
		d.cloud.Close()
	}
	http.DefaultClient.CloseIdleConnections()
}
