package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/pprof"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/julienschmidt/httprouter"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tandem/admin/api"
)

// checkTime is how long one check of /readyz may take.
const checkTime = 2 * time.Second

// ops is what monitoring and operators of the machine ask.
type ops struct{ *Door }

// opsRoutes puts what monitors, operators and debuggers ask on the door.
func (d ops) opsRoutes() {
	huma.Register(d.api, d.operation("whoami", http.MethodGet, "/v1/whoami", anyRole, "How this door knows the caller"),
		func(ctx context.Context, _ *empty) (*reply[api.Whoami], error) {
			return &reply[api.Whoami]{caller(ctx).Whoami}, nil
		})
	type auditAsked struct {
		Limit int `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	}
	huma.Register(d.api, d.operation("list-audit", http.MethodGet, "/v1/audit", api.RoleOperate, "The last changes asked of this node, newest first"),
		func(_ context.Context, in *auditAsked) (*reply[api.List[api.Change]], error) {
			return &reply[api.List[api.Change]]{list(d.audit.list(in.Limit))}, nil
		})

	shown := d.operation("get-config", http.MethodGet, "/v1/config", api.RoleOperate, "The configuration in force at this node, without secrets")
	shown.Errors = append(shown.Errors, http.StatusNotImplemented)
	huma.Register(d.api, shown, func(context.Context, *empty) (*reply[map[string]any], error) {
		if d.deps.Config == nil {
			return nil, absent("Showing the configuration")
		}
		return &reply[map[string]any]{d.deps.Config()}, nil
	})

	reload := d.change("reload", http.MethodPost, "/v1/reload", api.RoleOperate, "Read this node's configuration and its files again")
	reload.Description = "Certificates, admin tokens, handle keys, secrets of bots, rules, pins and the log level come into force, as with SIGHUP; " +
		"what else has changed waits for a restart and is named. 409 says what is wrong; then all that was in force stays."
	reload.Errors = append(reload.Errors, http.StatusNotImplemented)
	huma.Register(d.api, reload, func(context.Context, *empty) (*reply[api.Reloaded], error) {
		if d.deps.Reload == nil {
			return nil, absent("Reloading")
		}
		told, err := d.deps.Reload()
		if err != nil {
			return nil, huma.Error409Conflict(err.Error())
		}
		return &reply[api.Reloaded]{told}, nil
	})

	metrics := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, http.StatusNotImplemented, "Metrics are not set up on this node.")
	}))
	if d.deps.Metrics != nil {
		metrics = promhttp.HandlerFor(d.deps.Metrics, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: 4})
	}
	d.router.HandlerFunc(http.MethodGet, "/livez", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, api.Readiness{Ready: true})
	})
	d.router.HandlerFunc(http.MethodGet, "/readyz", d.readyz)
	d.router.Handler(http.MethodGet, "/metrics", d.only(api.RoleRead, metrics))
	d.router.Handler(http.MethodGet, "/v1/log/tail", d.only(api.RoleOperate, http.HandlerFunc(d.lastLog)))
	d.router.Handler(http.MethodGet, "/debug/pprof/*name", d.only(api.RoleOperate, http.HandlerFunc(profile)))

	d.document("/livez", "livez", "", "The process answers", "application/json")
	d.document("/readyz", "readyz", "", "200 when this node can do its work, else 503; ?verbose names the checks, to callers with the role read", "application/json")
	d.document("/metrics", "get-metrics", api.RoleRead, "Metrics for Prometheus", "text/plain")
	d.document("/v1/log/tail", "get-log-tail", api.RoleOperate, "The last lines of this node's own log, as JSON lines, at the level in force", "application/x-ndjson")
	d.document("/debug/pprof/{name}", "get-profile", api.RoleOperate, "Profiles of Go's runtime: empty, profile, trace, heap, goroutine, …", "application/octet-stream")
}

func (d ops) lastLog(w http.ResponseWriter, _ *http.Request) {
	if d.deps.LastLog == nil {
		writeProblem(w, http.StatusNotImplemented, "The log is not kept on this node.")
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	_, _ = w.Write(d.deps.LastLog()) // who has left hears nothing
}

// document describes a plain handler in the OpenAPI document.
func (d ops) document(path, id string, role api.Role, summary, content string) {
	op := d.operation(id, http.MethodGet, path, role, summary)
	refusal := func(status int) *huma.Response {
		return &huma.Response{Description: http.StatusText(status), Content: map[string]*huma.MediaType{"application/problem+json": {}}}
	}
	op.Responses = map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{content: {}}}}
	for _, status := range op.Errors {
		op.Responses[strconv.Itoa(status)] = refusal(status)
	}
	switch path {
	case "/readyz":
		op.Responses["503"] = op.Responses["200"]
		for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests} { // ?verbose
			op.Responses[strconv.Itoa(status)] = refusal(status)
		}
	case "/metrics":
		op.Responses["501"] = refusal(http.StatusNotImplemented)
	case "/debug/pprof/{name}":
		op.Responses["200"].Content["text/plain"] = &huma.MediaType{}
	}
	if path == "/debug/pprof/{name}" {
		op.Parameters = []*huma.Param{{Name: "name", In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}}}
	}
	d.api.OpenAPI().AddOperation(&op)
}

// readyz asks all checks at once. Their names and errors are for callers with
// the role read: a load balancer needs the status only.
func (d ops) readyz(w http.ResponseWriter, r *http.Request) {
	results := d.ready(r.Context())
	out, status := api.Readiness{Ready: true}, http.StatusOK
	for i, c := range results {
		if !c.OK && !d.deps.Checks[i].Advisory {
			out.Ready, status = false, http.StatusServiceUnavailable
		}
	}
	if r.URL.Query().Has("verbose") {
		if _, refused := d.admitted(r, api.RoleRead); refused != nil {
			d.refuse(w, refused)
			return
		}
		out.Checks = results
	}
	writeJSON(w, status, out)
}

// ready asks every check and gives the answers in the checks' order. A check
// that does not come back in time counts as failed, and is waited for no more.
func (d ops) ready(ctx context.Context) []api.CheckResult {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	type done struct {
		at  int
		err error
	}
	answers := make(chan done, len(d.deps.Checks))
	out := make([]api.CheckResult, len(d.deps.Checks))
	for i, c := range d.deps.Checks {
		out[i] = api.CheckResult{Name: c.Name, Error: fmt.Sprintf("no answer within %s", checkTime)}
		go func() { answers <- done{i, c.Ask(ctx)} }()
	}
	for range d.deps.Checks {
		select {
		case a := <-answers:
			out[a.at].OK, out[a.at].Error = a.err == nil, ""
			if a.err != nil {
				out[a.at].Error = a.err.Error()
			}
		case <-ctx.Done():
			return out
		}
	}
	return out
}

// profile serves Go's profiles. The longest one is bounded, so that a forgotten
// browser tab does not profile for hours.
func profile(w http.ResponseWriter, r *http.Request) {
	const longest = 60 * time.Second
	out := http.NewResponseController(w)
	if err := out.SetWriteDeadline(time.Now().Add(longest + 5*time.Second)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		writeProblem(w, http.StatusInternalServerError, "The connection takes no deadline.")
		return
	}
	if s := r.URL.Query().Get("seconds"); s != "" {
		if wanted, err := time.ParseDuration(s + "s"); err != nil || wanted <= 0 || wanted > longest {
			writeProblem(w, http.StatusBadRequest, "seconds must be a number from 1 to 60.")
			return
		}
	}
	switch name := httprouter.ParamsFromContext(r.Context()).ByName("name"); name {
	case "/cmdline":
		pprof.Cmdline(w, r)
	case "/profile":
		pprof.Profile(w, r)
	case "/symbol":
		pprof.Symbol(w, r)
	case "/trace":
		pprof.Trace(w, r)
	default:
		pprof.Index(w, r) // the index at "/", and every named profile
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		writeProblem(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a caller that has gone needs no answer
}
