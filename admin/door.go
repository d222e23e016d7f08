package admin

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humahttprouter"
	"github.com/julienschmidt/httprouter"

	"tandem/admin/api"
)

// Config is what the door is told by the configuration.
type Config struct {
	api.Identity
	StartedAt time.Time

	// URL is the region's public base URL and AdminURL this door's own, both
	// for /v1/regions only.
	URL, AdminURL string

	// Loopback says that the listener is reachable from this machine only. It
	// is the condition for running without a TokensFile.
	Loopback bool
	// TokensFile names the first bearer tokens, see HashToken; more can be made
	// for the whole region with them. Empty: the door is open to everybody who
	// can reach it, which needs Loopback.
	TokensFile string
	// Secure says that the listener speaks TLS. The console's cookie is then marked
	// Secure, and so it is without Loopback: where the listener speaks no TLS,
	// something in front of it must. What a header says of that is not believed.
	Secure bool

	BodyLimit     int64         // bytes of a request body other than a snapshot's; 0: 1 MiB
	SnapshotLimit int64         // bytes of a snapshot to restore; 0: 4 GiB
	Patience      time.Duration // how long one request may wait for the cluster; 0: 10 s
	Streams       int           // followers of /v1/events at a time, a quarter of them for one token; 0: 64
}

// Check says why New would refuse the configuration; CheckTokensFile reads the file.
func (c Config) Check() error {
	if c.TokensFile == "" && !c.Loopback {
		return errors.New("building the admin door: it listens beyond loopback, so admin.tokens_file must be set")
	}
	return nil
}

// Door is the private door as an http.Handler. It starts no goroutine of its
// own; Close ends the event streams that would hold up a shutdown.
type Door struct {
	cfg      Config
	deps     Deps
	log      *slog.Logger
	now      func() time.Time
	auth     *guard
	audit    *auditLog
	router   *httprouter.Router
	api      huma.API
	handler  http.Handler
	streams  *places
	watchers *places // of the summary
	shown    shown
	moves    moves
	sessions *sessions
	abroad   *abroad

	closeOnce sync.Once
	closing   chan struct{}
}

// New builds the door. It fails if a required dependency is missing, if the
// tokens file cannot be read, or if there are no tokens and the listener is not
// on loopback.
func New(cfg Config, deps Deps) (*Door, error) {
	if deps.Table == nil || deps.Journal == nil || deps.Cluster == nil {
		return nil, errors.New("building the admin door: Table, Journal and Cluster are required")
	}
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	cfg.BodyLimit = cmp.Or(cfg.BodyLimit, 1<<20)
	cfg.SnapshotLimit = cmp.Or(cfg.SnapshotLimit, 4<<30)
	cfg.Patience = cmp.Or(cfg.Patience, 10*time.Second)
	cfg.Streams = cmp.Or(cfg.Streams, 64)
	d := &Door{
		cfg: cfg, deps: deps, log: cmp.Or(deps.Logger, slog.Default()), now: deps.Now,
		router:  httprouter.New(),
		streams: newPlaces(cfg.Streams), watchers: newPlaces(watchers),
		closing: make(chan struct{}),
	}
	if d.now == nil {
		d.now = time.Now
	}
	if d.deps.Trails == nil {
		d.deps.Trails = noTrails{}
	}
	d.sessions = newSessions(d.now)
	d.audit = newAuditLog(d.log)
	d.audit.enter = d.enterNote
	d.auth = newGuard(cfg, deps, d.now)
	d.abroad = &abroad{
		self: cfg.Region, doors: deps.Elsewhere, regions: d.regions, table: deps.Table, auth: d.auth,
		streams: d.streams, router: d.router, closing: d.closing,
	}
	if err := d.auth.reload(); err != nil {
		return nil, fmt.Errorf("building the admin door: %w", err)
	}
	if err := d.routes(); err != nil {
		return nil, fmt.Errorf("building the admin door: %w", err)
	}
	return d, nil
}

// ServeHTTP answers one request.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) { d.handler.ServeHTTP(w, r) }

// ReloadTokens reads the tokens file again. A file that cannot be read leaves
// the old tokens in force.
func (d *Door) ReloadTokens() error { return d.auth.reload() }

// Close ends the event streams; later ones end at once. Other requests are not
// touched. NewServer calls it when its server shuts down.
func (d *Door) Close() { d.closeOnce.Do(func() { close(d.closing) }) }

// routes puts every path on the router. The router's own redirects are off: it
// would redirect //evil to another site.
func (d *Door) routes() error {
	r := d.router
	r.RedirectTrailingSlash, r.RedirectFixedPath, r.HandleOPTIONS = false, false, false
	r.NotFound = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, http.StatusNotFound, "There is nothing at this path; /v1/docs lists what there is.")
	})
	r.MethodNotAllowed = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, http.StatusMethodNotAllowed, "This path does not take this method.")
	})
	d.api = humahttprouter.New(r, apiConfig(d.cfg.Version))
	d.api.UseMiddleware(d.admit, d.abroad.reach)
	d.readRoutes()
	stopRoutes(d)
	d.callRoutes()
	d.actRoutes()
	d.streamRoutes()
	doorTokens{d}.tokenRoutes()
	ruleDoor{d}.routes()
	rolloutDoor{d}.routes()
	evacuation{d}.routes()
	captureDoor{d}.routes()
	ledgerDoor{d}.routes()
	ops{d}.opsRoutes()
	plain(d.api.OpenAPI())
	docsRoutes(d)
	if err := d.pageRoutes(); err != nil {
		return err
	}
	d.handler = d.outer(r)
	return nil
}
