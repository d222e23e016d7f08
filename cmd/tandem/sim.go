package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tandem/cmd/tandem/load"
	"tandem/graphsim"
)

// simFlags describe the deployment that the simulated cloud posts to.
type simFlags struct {
	listen, webhookPath, appID, secretFile string
	targets, regionURLs                    []string
	caFile, certFile, keyFile              string
	rate                                   float64
	duration                               time.Duration
	report                                 string
	kind                                   bool
	seed                                   uint64
	answering, keysFile                    string
	rotate                                 bool
	bot                                    foreignBot
}

const simLong = `Posts simulated calls to nodes that run elsewhere, with sample bots of its own,
and judges what it sees, as 'tandem dev' does for nodes of its own.

It serves what the nodes' configuration must point at, and prints it:

  auth.profiles[].openid_url   the issuer's OpenID configuration
  apps[].graph.base_url        the calls API
  apps[].graph.token_url       client credentials (client_secret_file: the same secret)
  apps[].bot.url, health_url   a sample bot for each node

With --bot the doors of the sample bots pass everything on to your own bot, and the
report tells how it did (see 'tandem dev --help'); the nodes' configuration keeps
pointing at the doors.

With --cert and --key all of that is https; without, plain http, which a node
takes from loopback only.

A node that meets a signing key it does not know fetches the keys, but once a
minute at most. So runs against nodes that go on running should share their keys:
give each of them the same --keys-file. --rotate changes the signing key in the
middle of a run that is long enough for that.`

// shortestRotated is the shortest run that --rotate is taken with: its key
// changes when 40 % are over, and by then every node must have been able to fetch
// the keys, lately or not, more than a minute ago.
const shortestRotated = 3 * time.Minute

func (a *app) simCommand() *cobra.Command {
	var f simFlags
	c := &cobra.Command{
		Use:   "sim",
		Short: "post simulated calls to nodes that run elsewhere",
		Long:  simLong,
		Example: `  tandem sim --listen 127.0.0.1:9500 --app 0efc74f7-41c3-47a4-8775-7259bfef4241 \
    --target emea/emea-1=http://127.0.0.1:8443 --region-url emea=http://127.0.0.1:8443 --duration 1m`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.sim(cmd.Context(), f)
		},
	}
	flags := c.Flags()
	f.deployment(flags)
	flags.Float64Var(&f.rate, "rate", 5, "new calls a second")
	flags.DurationVar(&f.duration, "duration", 0, "end by itself after so long; 0: at Ctrl-C")
	flags.StringVar(&f.report, "report", "", "write what the cloud saw to this file, as JSON")
	flags.BoolVar(&f.kind, "kind", false, "a cloud without duplicates, delays and failures")
	flags.BoolVar(&f.rotate, "rotate", false, "change the signing key in the middle; needs a --duration of "+shortestRotated.String()+" or more")
	c.AddCommand(a.simLoadCommand())
	return c
}

// deployment are the flags that say what is posted to.
func (f *simFlags) deployment(flags *pflag.FlagSet) {
	flags.StringVar(&f.listen, "listen", "127.0.0.1:9500", "where the cloud's endpoints and the bots listen")
	flags.StringArrayVar(&f.targets, "target", nil, "REGION/NODE=URL of a public door; once for each node")
	flags.StringArrayVar(&f.regionURLs, "region-url", nil, "REGION=URL, the region's public.region_url; once for each region")
	flags.StringVar(&f.webhookPath, "webhook-path", "/api/calls", "public.webhook_path of the nodes")
	flags.StringVar(&f.appID, "app", demoApp, "the app registration that is called")
	flags.StringVar(&f.secretFile, "secret-file", "", "the app's client secret, the file the nodes read; empty: "+demoSecret)
	flags.StringVar(&f.caFile, "ca", "", "PEM file of the authority that the nodes' doors are trusted by")
	flags.StringVar(&f.certFile, "cert", "", "certificate of the cloud's own endpoints")
	flags.StringVar(&f.keyFile, "key", "", "its key")
	flags.Uint64Var(&f.seed, "seed", 0, "of the cloud's choices; 0: by the clock")
	flags.StringVar(&f.keysFile, "keys-file", "", "PEM file of the cloud's signing keys, made when missing; empty: new keys for this run")
	flags.StringVar(&f.answering, "answer", "router", "the app's answer setting: router or bot")
	f.bot.flags(flags)
}

const simLoadLong = `Makes calls at rates that rise step by step, and tells what answers and later
notifications took at each: the median, 90, 99 and 99.9 % and the longest, and how many
failed. At the end it says up to which rate nothing failed, and judges as 'tandem sim' does.

A call rings when it is due, however slow those before it are, and what it took counts from
then; so a deployment that stands still for a second shows it. The cloud is a kind one:
what is late or fails is the deployment's doing, or this machine's, if it has no processor
to spare: watch that, or run it on a machine of its own.

--against compares with the --report of an earlier run, rate by rate: beneath 1 is faster.
With --bot the load reaches your own bot.`

// loadFlags are those of sim load beside simFlags.
type loadFlags struct {
	simFlags
	plan    load.Plan
	against string
}

func (a *app) simLoadCommand() *cobra.Command {
	var f loadFlags
	c := &cobra.Command{
		Use:   "load",
		Short: "raise the rate of calls step by step, and tell what answers took",
		Long:  simLoadLong,
		Args:  cobra.NoArgs,
		Example: `  tandem sim load --target emea/emea-1=http://127.0.0.1:8443 --region-url emea=http://127.0.0.1:8443 \
    --rate 20 --to 200 --steps 10 --each 20s --report today.json --against yesterday.json`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.simLoad(cmd.Context(), f) },
	}
	flags := c.Flags()
	f.deployment(flags)
	flags.Float64Var(&f.plan.From, "rate", 20, "new calls a second, of the first step")
	flags.Float64Var(&f.plan.To, "to", 0, "of the last step; 0: as of the first")
	flags.IntVar(&f.plan.Steps, "steps", 1, "steps between the two")
	flags.DurationVar(&f.plan.Each, "each", 20*time.Second, "how long a step lasts")
	flags.DurationVar(&f.plan.Warm, "warmup", 5*time.Second, "at the first rate, before anything counts: nodes meet the bots and the signing keys")
	flags.StringVar(&f.report, "report", "", "write what was measured to this file, as JSON")
	flags.StringVar(&f.against, "against", "", "report of an earlier run to compare with")
	return c
}

func (a *app) simLoad(ctx context.Context, f loadFlags) error {
	if err := f.plan.Check(); err != nil {
		return usage("%w; see 'tandem sim load --help'", err)
	}
	var before load.Report
	if f.against != "" {
		var err error
		if before, err = load.ReadReport(f.against); err != nil {
			return err
		}
	}
	f.kind, f.rate = true, f.plan.From
	cfg, err := f.config()
	if err != nil {
		return err
	}
	heard := &load.Recorder{}
	cfg.Timed = heard.Hear
	var told load.Report
	seen, err := a.withCloud(ctx, f.simFlags, cfg, func(ctx context.Context, cloud *graphsim.Cloud) (graphsim.Report, error) {
		var err error
		told, err = load.Run(ctx, cloud, heard, f.plan, version, a.err, terminal(a.err))
		return told.Cloud, err
	})
	if err != nil {
		return err
	}
	if f.report != "" {
		if err := writeJSON(f.report, told); err != nil {
			return err
		}
	}
	rows := told.Rows()
	if f.against != "" {
		rows = told.Against(before)
	}
	if err := a.print(told, rows); err != nil {
		return err
	}
	switch {
	case told.Held > 0:
		a.done("nothing failed up to %.4g calls a second", told.Held)
	default:
		a.done("not even at %.4g calls a second did all succeed", f.plan.From)
	}
	return a.verdict(seen)
}

func (a *app) sim(ctx context.Context, f simFlags) error {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	seen, err := a.withCloud(ctx, f, cfg, func(ctx context.Context, cloud *graphsim.Cloud) (graphsim.Report, error) {
		err := a.runCalls(ctx, cloud, graphsim.Load{Rate: f.rate, Duration: f.duration})
		return cloud.Report(), err
	})
	if err != nil {
		return err
	}
	return a.judge(seen, f.report)
}

// withCloud starts the cloud, says what the nodes must point at, and runs something with
// it. That nobody got through because nobody listens is the error then.
func (a *app) withCloud(ctx context.Context, f simFlags, cfg graphsim.Config, run func(context.Context, *graphsim.Cloud) (graphsim.Report, error)) (seen graphsim.Report, err error) {
	if err := f.bot.check(ctx); err != nil {
		return seen, err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	cloud, err := graphsim.Start(context.WithoutCancel(ctx), cfg)
	if err != nil {
		return seen, fmt.Errorf("starting the simulated cloud: %w", err)
	}
	defer cloud.Close()
	if f.keysFile == "" {
		a.done("the signing keys are new: nodes that have met others take up to a minute to fetch them, unless --keys-file keeps them")
	}
	fmt.Fprintf(a.out, "openid_url  %s\nbase_url    %s\ntoken_url   %s\n", cloud.OpenIDURL(), cloud.GraphURL(), cloud.TokenURL())
	for _, t := range cfg.Targets {
		b := cloud.Bot(t.Node)
		fmt.Fprintf(a.out, "bot of %s  url: %s  health_url: %s\n", t.Node, b.URL, b.HealthURL)
	}
	for _, why := range unreachable(ctx, cfg.Targets) {
		a.done("not yet there: %v", why)
	}
	if seen, err = run(ctx, cloud); err != nil {
		return seen, err
	}
	if nobody := unreachable(context.WithoutCancel(ctx), cfg.Targets); seen.NotificationsHandled == 0 && len(nobody) > 0 {
		return seen, exitError{exitUnavailable, fmt.Errorf("no notification reached a node: %w", nobody[0])}
	}
	return seen, nil
}

// reachTime bounds one look whether a node listens.
const reachTime = 2 * time.Second

// unreachable says which targets take no connection, and why.
func unreachable(ctx context.Context, targets []graphsim.Target) (why []error) {
	for _, t := range targets {
		u, err := url.Parse(t.URL)
		if err != nil {
			continue // the cloud's to say
		}
		port := cmp.Or(u.Port(), map[string]string{"https": "443"}[u.Scheme], "80")
		looking := net.Dialer{Timeout: reachTime}
		conn, err := looking.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
		if err != nil {
			why = append(why, fmt.Errorf("%s at %s: %w", t.Node, t.URL, err))
			continue
		}
		_ = conn.Close() // nothing was sent
	}
	return why
}

// seedOf takes the clock for a seed that is not given: call ids follow from the
// seed, and nodes remember the ended calls of the run before.
func seedOf(given uint64) uint64 { return cmp.Or(given, uint64(time.Now().UnixNano())) }

func (f simFlags) config() (graphsim.Config, error) {
	cfg := graphsim.Config{Listen: f.listen, WebhookPath: f.webhookPath, Seed: seedOf(f.seed), RegionURLs: map[string]string{}, Capacity: 2000, KeysFile: f.keysFile}
	cfg.Switches.KeepKey = !f.rotate
	if f.rate <= 0 || len(f.targets) == 0 || len(f.regionURLs) == 0 {
		return cfg, usage("sim needs --target and --region-url, and a --rate above 0; see 'tandem sim --help'")
	}
	if f.rotate && f.duration < shortestRotated {
		return cfg, usage("--rotate needs a --duration of %s or more: nodes fetch keys they do not know once a minute at most", shortestRotated)
	}
	rates := graphsim.Unkind()
	if f.kind {
		rates = graphsim.Kind()
	}
	if cfg.Foreign = f.bot.foreign(); cfg.Foreign != nil {
		rates.BotFails = 0 // what is refused then, the bot refused
	}
	cfg.Rates, cfg.Answering = &rates, answering(f.answering)
	if f.answering != "router" && f.answering != "bot" {
		return cfg, usage("--answer is %q: router or bot", f.answering)
	}
	for _, t := range f.targets {
		name, url, ok := strings.Cut(t, "=")
		region, node, slash := strings.Cut(name, "/")
		if !ok || !slash || region == "" || node == "" {
			return cfg, usage("--target %q: write REGION/NODE=URL", t)
		}
		cfg.Targets = append(cfg.Targets, graphsim.Target{Region: region, Node: node, URL: url})
	}
	for _, r := range f.regionURLs {
		region, url, ok := strings.Cut(r, "=")
		if !ok || region == "" {
			return cfg, usage("--region-url %q: write REGION=URL", r)
		}
		cfg.RegionURLs[region] = url
	}
	secret := demoSecret
	if f.secretFile != "" {
		text, err := os.ReadFile(f.secretFile)
		if err != nil {
			return cfg, fmt.Errorf("reading the client secret: %w", err)
		}
		secret = strings.TrimSpace(string(text))
	}
	cfg.Apps = []graphsim.App{{ID: f.appID, ClientSecret: secret}}
	return cfg, f.trust(&cfg)
}

// trust reads the certificates, where there are any.
func (f simFlags) trust(cfg *graphsim.Config) error {
	if f.caFile != "" {
		text, err := os.ReadFile(f.caFile)
		if err != nil {
			return fmt.Errorf("reading --ca: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return fmt.Errorf("reading --ca: %s holds no certificate in PEM", f.caFile)
		}
		cfg.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	if f.certFile != "" || f.keyFile != "" {
		pair, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
		if err != nil {
			return fmt.Errorf("reading --cert and --key: %w", err)
		}
		cfg.ServeTLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	return nil
}

// foreignBot is the user's own bot, which dev and sim try. No url: there is none.
type foreignBot struct{ url, health string }

func (b *foreignBot) flags(f *pflag.FlagSet) {
	f.StringVar(&b.url, "bot", "", "URL of your own bot, which takes the place of the sample bots")
	f.StringVar(&b.health, "health", "", "its health address; empty: it counts as healthy")
}

func (b *foreignBot) foreign() *graphsim.Foreign {
	if b.url == "" {
		return nil
	}
	return &graphsim.Foreign{URL: b.url, HealthURL: b.health}
}

// answering is who answers by an app's setting; of the two the router is the default.
func answering(setting string) graphsim.Answering {
	if setting == "bot" {
		return graphsim.AnswerByBot
	}
	return graphsim.AnswerByRouter
}

// botPatience is how long a bot that was just started gets to listen.
const botPatience = 5 * time.Second

// check reads the addresses and waits for the bot to listen.
func (b *foreignBot) check(ctx context.Context) error {
	if b.url == "" && b.health != "" {
		return usage("--health needs --bot: whose health is it?")
	}
	if b.url == "" {
		return nil
	}
	for flag, text := range map[string]string{"--bot": b.url, "--health": b.health} {
		if u, err := url.Parse(text); text != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			return usage("%s %q is no URL such as http://127.0.0.1:9442/", flag, text)
		}
	}
	for until := time.Now().Add(botPatience); ; {
		why := unreachable(ctx, []graphsim.Target{{Node: "your bot", URL: b.url}})
		if len(why) == 0 {
			return nil
		}
		if ctx.Err() != nil || time.Now().After(until) {
			return exitError{exitUnavailable, fmt.Errorf("nobody listens there, start the bot first: %w", why[0])}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}
