package graphsim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Cloud is a running calling cloud. Its methods may be used by several
// goroutines.
type Cloud struct {
	cfg        Config
	base       string // of its own endpoints
	ctx        context.Context
	cancel     context.CancelFunc
	server     *http.Server
	client     *http.Client
	dice       *dice
	keys       *keyRing
	faults     *faults
	bearers    *bearers
	registered registrations
	places     *places
	ledger     *ledger
	watchers   watchers
	tasks      tasks
	trial      *trial // nil: the sample bot plays

	botsMu sync.Mutex
	bots   map[string]*Bot

	birthsMu sync.Mutex
	births   uint64
	runs     uint64
}

// Start opens the cloud's endpoints and the bots' doors. It posts nothing until
// Run. The end of ctx closes it, as Close does.
func Start(ctx context.Context, cfg Config) (*Cloud, error) {
	cfg, err := cfg.filled()
	if err != nil {
		return nil, fmt.Errorf("starting the calling cloud: %w", err)
	}
	keys, err := newKeyRing(cfg.KeysFile)
	if err != nil {
		return nil, fmt.Errorf("starting the calling cloud: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("starting the calling cloud: listening on %s: %w", cfg.Listen, err)
	}
	scheme := "http://"
	if cfg.ServeTLS != nil {
		scheme = "https://"
	}
	c := &Cloud{
		cfg:  cfg,
		base: scheme + listener.Addr().String(),
		client: &http.Client{
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport:     &http.Transport{MaxIdleConnsPerHost: 64, TLSClientConfig: cfg.TLS, IdleConnTimeout: 30 * time.Second},
		},
		dice:    newDice(cfg.Seed, 0),
		keys:    keys,
		faults:  &faults{set: map[Endpoint]Fault{}, count: map[Endpoint]int{}, dice: newDice(cfg.Seed, 1)},
		bearers: &bearers{app: map[string]bearer{}},
		places:  &places{},
		ledger:  newLedger(),
		bots:    map[string]*Bot{},
	}
	c.registered.apps, c.registered.jtis = map[string]App{}, map[string]bool{}
	for _, app := range cfg.Apps {
		c.registered.apps[app.ClientID] = app
	}
	if cfg.Journeys {
		c.ledger.journeys = map[string]*Journey{}
	}
	c.ledger.past.gaveUp = cfg.GaveUp
	if cfg.Foreign != nil {
		c.trial = newTrial(*cfg.Foreign)
		c.ledger.past.trial, c.ledger.past.answering = c.trial, cfg.Answering
	}
	if err := errors.Join(c.SetTargets(cfg.Targets), c.SetRegionURLs(cfg.RegionURLs)); err != nil {
		_ = listener.Close() // it served nothing
		return nil, fmt.Errorf("starting the calling cloud: %w", err)
	}
	c.ctx, c.cancel = context.WithCancel(ctx)
	c.server = &http.Server{Handler: c.routes(), ReadHeaderTimeout: 10 * time.Second}
	serve := c.server.Serve
	if cfg.ServeTLS != nil {
		c.server.TLSConfig = cfg.ServeTLS.Clone()
		serve = func(l net.Listener) error { return c.server.ServeTLS(l, "", "") }
	}
	c.tasks.run(func() {
		if err := serve(listener); !errors.Is(err, http.ErrServerClosed) {
			cfg.Logger.Error("the calling cloud's server ended", "err", err)
		}
	})
	context.AfterFunc(c.ctx, func() { _ = c.server.Close() }) // its listener is gone either way
	return c, nil
}

func (c *Cloud) routes() http.Handler {
	mux, keys := http.NewServeMux(), &keyDoor{c}
	mux.HandleFunc("GET "+openIDPath, c.faults.around(EndpointOpenID, keys.serveOpenID))
	mux.HandleFunc("GET "+keysPath, c.faults.around(EndpointKeys, keys.serveKeys))
	mux.HandleFunc("POST "+tokenPath, c.faults.around(EndpointToken, keys.serveToken))
	(&callsDoor{c}).callsAPI(mux)
	c.serveBots(mux)
	return mux
}

// Close ends all calls and endpoints and waits for them.
func (c *Cloud) Close() {
	c.cancel()
	_ = c.server.Close() // its listener is gone either way
	c.tasks.close()
	c.client.CloseIdleConnections()
	if c.trial != nil {
		c.trial.client.CloseIdleConnections()
	}
	c.watchers.close()
}

func (c *Cloud) tell(k *call, from, to, what string) { c.watchers.tell(k.id, from, to, what) }
