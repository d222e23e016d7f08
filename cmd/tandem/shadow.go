package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"tandem/node"
	"tandem/shadow"
)

// shadowFlags say what a shadow run stands in front of.
type shadowFlags struct {
	configFlags
	upstreams, apps           []string
	listen, page, host        string
	path, instance, report    string
	certFile, keyFile, caFile string
	tlsName                   string
	forwarded                 bool
	every, lasts              time.Duration
}

const shadowLong = `Stands in front of today's ingress, before Tandem does anything, and passes every request
through as it came: method, path, query, headers with Host, body, trailers, upgrades; and
the response likewise. Beside that it looks at the notifications of calls and says what
Tandem would have spared you: notifications that went to another instance than the one
that has the call, that were handled twice, calls answered late or by nobody, calls that
lost their instance, handshakes not answered with 204, tokens that are to be refused.

It needs to know your app, to verify tokens: --app, or the --config that a node would
have; with rules in that, it also says which region each new call belongs to. A body is
looked at only after its token is verified. It needs to know which
instance handled a request, and only your upstream can say that:

  --instance header:X-Served-By    a header of each response: nginx' add_header X-Served-By
                                   $upstream_addr always, or your bot's own host name
  --instance cookie:ARRAffinity    a cookie that a balancer sets for its instance: Azure App
                                   Service, Application Gateway (ApplicationGatewayAffinity)
  --instance location              the host in the redirects by which your front sends the
                                   cloud to an instance
  --upstream a=URL --upstream b=URL
                                   no balancer: requests go to the named instances in turns

Where nothing says it, the report counts what could not be judged.

The report is on a page while it runs (--page), in --report FILE as JSON, on the standard
output at the end and, except on Windows, at SIGUSR1. It has no body, token, person or id
of a call. Judging never delays or fails a request: what it cannot keep up with is dropped
and counted. See docs/shadow.md.`

func (a *app) shadowCommand() *cobra.Command {
	var f shadowFlags
	c := &cobra.Command{
		Use:   "shadow",
		Short: "stand in front of today's ingress, and say what Tandem would have spared it",
		Long:  shadowLong,
		Example: `  tandem shadow --upstream https://10.0.0.10:8443 --upstream-name bot.contoso.com --app 0efc74f7-41c3-47a4-8775-7259bfef4241 \
    --listen 0.0.0.0:8443 --cert tls.crt --key tls.key --instance header:X-Served-By --report shadow.json --every 1m`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.shadow(cmd.Context(), f)
		},
	}
	flags := c.Flags()
	flags.StringArrayVar(&f.upstreams, "upstream", nil, "[NAME=]URL that requests are passed on to; several are taken in turns")
	flags.StringVar(&f.listen, "listen", "127.0.0.1:8480", "where requests are taken, HTTP/1.1 and HTTP/2")
	flags.StringVar(&f.certFile, "cert", "", "certificate of the listener; empty: plain text, as behind a balancer that ends TLS")
	flags.StringVar(&f.keyFile, "key", "", "its key")
	flags.StringVar(&f.caFile, "upstream-ca", "", "PEM file of the authority of the upstream's certificate; empty: the system's")
	flags.StringVar(&f.tlsName, "upstream-name", "", "name that the upstream's certificate is for; empty: the host of its URL")
	flags.StringVar(&f.host, "host", "", "Host header for the upstream; empty: as it came")
	flags.BoolVar(&f.forwarded, "forwarded", false, "add the caller's address, host and scheme as X-Forwarded-For, -Host and -Proto")
	flags.StringVar(&f.path, "path", "", "judge only requests whose path begins so, such as /api/calls; empty: every POST")
	flags.StringVar(&f.instance, "instance", "", "where a response names its instance: header:NAME, cookie:NAME or location")
	flags.StringArrayVar(&f.apps, "app", nil, "id of an app registration whose calls come here, in the public cloud; may be repeated")
	flags.StringVar(&f.page, "page", "127.0.0.1:8481", "where the report is shown as it is now; empty: nowhere")
	flags.StringVar(&f.report, "report", "", "write the report to this file, as JSON")
	flags.DurationVar(&f.every, "every", 0, "write the file so often; 0: at the end and when asked")
	flags.DurationVar(&f.lasts, "for", 0, "end by itself after so long; 0: at Ctrl-C")
	f.register(c)
	return c
}

func (a *app) shadow(ctx context.Context, f shadowFlags) error {
	cfg, err := f.read()
	if err != nil {
		return err
	}
	auth, err := f.auth(a.environ)
	if err != nil {
		return err
	}
	cfg.Log = slog.New(slog.NewTextHandler(a.err, nil))
	auth.Logger = cfg.Log
	if cfg.Home, err = node.Homes(auth); err != nil {
		return err
	}
	tokens, err := node.Tokens(ctx, auth)
	if err != nil {
		return err
	}
	defer func() { _ = tokens.Close() }() // nothing of it is kept
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if f.lasts > 0 {
		var end context.CancelFunc
		ctx, end = context.WithTimeout(ctx, f.lasts)
		defer end()
	}
	if len(shadow.Asks) > 0 {
		ask := make(chan os.Signal, 1)
		signal.Notify(ask, shadow.Asks...)
		defer signal.Stop(ask)
		cfg.Ask = ask
	}
	cfg.Tokens, cfg.Out = tokens, a.out
	cfg.Ready = func(listen, page net.Addr) {
		a.done("passing requests at %s on to %s", listen, f.upstreams)
		if page != nil {
			a.done("the report is at http://%s/", page)
		}
		if f.instance == "" && len(f.upstreams) == 1 {
			a.done("nothing tells which instance handles a request, so misroutes cannot be seen: see --instance in 'tandem shadow --help'")
		}
	}
	return shadow.Run(ctx, cfg)
}

// auth is the configuration by which tokens are verified.
func (f shadowFlags) auth(environ []string) (node.Config, error) {
	cfg, err := loadConfig(f.file, environ, f.sets)
	if err != nil {
		return node.Config{}, err
	}
	for _, id := range f.apps {
		cfg.Apps = append(cfg.Apps, node.App{ID: id, Profile: "public"})
	}
	if len(cfg.Apps) == 0 {
		return node.Config{}, usage("shadow verifies tokens before it looks at anything: name your app with --app ID, or apps and auth in --config FILE")
	}
	return cfg.Config, nil
}

// read makes a run of the flags, but for what verifies its tokens.
func (f shadowFlags) read() (shadow.Config, error) {
	cfg := shadow.Config{
		ProxyConfig: shadow.ProxyConfig{Host: f.host, Forwarded: f.forwarded, Path: f.path},
		Listen:      f.listen, PageAt: f.page, File: f.report, Every: f.every,
	}
	if len(f.upstreams) == 0 {
		return cfg, usage("shadow needs --upstream URL, the ingress that it stands in front of; see 'tandem shadow --help'")
	}
	if f.every > 0 && f.report == "" {
		return cfg, usage("--every needs --report, which names the file to write")
	}
	var err error
	if cfg.Instance, err = shadow.ReadSource(f.instance); err != nil {
		return cfg, usage("--instance: %w", err)
	}
	for _, text := range f.upstreams {
		u, err := shadow.ReadUpstream(text)
		if err != nil {
			return cfg, usage("--upstream: %w", err)
		}
		cfg.Upstreams = append(cfg.Upstreams, u)
	}
	cfg.TLS = &tls.Config{ServerName: f.tlsName, MinVersion: tls.VersionTLS12}
	if f.caFile != "" {
		text, err := os.ReadFile(f.caFile)
		if err != nil {
			return cfg, fmt.Errorf("reading --upstream-ca: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return cfg, fmt.Errorf("reading --upstream-ca: %s holds no certificate in PEM", f.caFile)
		}
		cfg.TLS.RootCAs = pool
	}
	if f.certFile != "" || f.keyFile != "" {
		pair, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
		if err != nil {
			return cfg, fmt.Errorf("reading --cert and --key: %w", err)
		}
		cfg.ServeTLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	return cfg, nil
}
