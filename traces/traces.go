package traces

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"tandem/ownership"
)

// Traces makes the spans of one node. nil makes none. It is safe for concurrent use.
type Traces struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// carrier writes and reads spans as W3C Trace Context.
var carrier = propagation.TraceContext{}

const headerParent = "Traceparent"

// MarkParam is the query parameter of a redirect that carries a span.
const MarkParam = "t"

// Wanted reports whether the environment asks for traces, and what keeps them from being
// sent as it asks. Source: the OpenTelemetry specification, "Environment Variable
// Specification" and "OpenTelemetry Protocol Exporter".
func Wanted(getenv func(string) string) (bool, error) {
	endpoint := cmp.Or(getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), getenv("OTEL_EXPORTER_OTLP_ENDPOINT"))
	exporter := getenv("OTEL_TRACES_EXPORTER")
	if getenv("OTEL_SDK_DISABLED") == "true" || exporter == "none" || endpoint == "" && exporter != "otlp" {
		return false, nil
	}
	if exporter != "" && exporter != "otlp" {
		return false, fmt.Errorf("OTEL_TRACES_EXPORTER is %q: this software sends traces by otlp only", exporter)
	}
	protocol := cmp.Or(getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), getenv("OTEL_EXPORTER_OTLP_PROTOCOL"))
	if protocol != "" && protocol != "http/protobuf" {
		return false, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL is %q: this software speaks http/protobuf only (port 4318 of a collector)", protocol)
	}
	return true, nil
}

// Start begins to make spans, which otlptracehttp sends as the environment says. Close
// sends what is left.
func Start(ctx context.Context, region ownership.Region, node ownership.NodeID, version string, log *slog.Logger) (*Traces, error) {
	out, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("making traces as OTEL_EXPORTER_OTLP_* say: %w", err)
	}
	// What the environment says of the service goes before what we know of it.
	about, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "tandem"), attribute.String("service.version", version),
		attribute.String("service.instance.id", string(node)), attribute.String("tandem.region", string(region)), attribute.String("tandem.node", string(node)),
	), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("reading OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	seldom := rate.Sometimes{Interval: time.Minute}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		seldom.Do(func() { log.Warn("spans of traces were not sent; said once a minute at most", "err", err) })
	}))
	return sendingTo(out, about), nil
}

func sendingTo(out sdktrace.SpanExporter, about *resource.Resource) *Traces {
	p := sdktrace.NewTracerProvider(sdktrace.WithBatcher(plain{out}), sdktrace.WithResource(about))
	return &Traces{p, p.Tracer("tandem")}
}

// Close sends the spans that are left, until ctx ends.
func (t *Traces) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("sending the last spans of traces: %w", err)
	}
	return nil
}

func (t *Traces) options() []otelhttp.Option {
	return []otelhttp.Option{otelhttp.WithTracerProvider(t.provider), otelhttp.WithPropagators(carrier), otelhttp.WithMeterProvider(noop.NewMeterProvider())}
}

// Door makes a span of each request. What a stranger says of the trace that his request
// belongs to becomes a link; another node of the deployment is believed.
func (t *Traces) Door(name string, strangers bool, inner http.Handler) http.Handler {
	if t == nil {
		return inner
	}
	return otelhttp.NewHandler(inner, name, append(t.options(),
		otelhttp.WithFilter(func(r *http.Request) bool { return r.Method == http.MethodPost }), // no probes
		otelhttp.WithPublicEndpointFn(func(*http.Request) bool { return strangers }),
		otelhttp.WithSpanNameFormatter(func(name string, _ *http.Request) string { return name }))...)
}

// Transport makes a span of each request that goes out, and tells the other side of it.
func (t *Traces) Transport(name string, inner http.RoundTripper) http.RoundTripper {
	if t == nil {
		return inner
	}
	return watched{otelhttp.NewTransport(inner, append(t.options(),
		otelhttp.WithSpanNameFormatter(func(string, *http.Request) string { return name }))...), inner}
}

// watched is a transport with spans, which can still be told to close what rests.
type watched struct {
	http.RoundTripper
	inner http.RoundTripper
}

// CloseIdleConnections does for http.Client what the inner transport would.
func (w watched) CloseIdleConnections() {
	if c, ok := w.inner.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// Span begins a span within that of ctx, about a call if there is one; end ends it.
func (t *Traces) Span(ctx context.Context, name string, call ownership.CallID, p ownership.PartitionID, e ownership.Epoch) (_ context.Context, end func(error)) {
	if t == nil {
		return ctx, func(error) {}
	}
	ctx, span := t.tracer.Start(ctx, name, trace.WithAttributes(about(call, p, e)...))
	return ctx, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}

// About notes on the span of ctx which call it is about, and by what ids it can be found.
func (t *Traces) About(ctx context.Context, call ownership.CallID, p ownership.PartitionID, e ownership.Epoch, message, scenario string) {
	if t == nil {
		return
	}
	trace.SpanFromContext(ctx).SetAttributes(append(about(call, p, e), attribute.String("tandem.notification", message), attribute.String("tandem.scenario_id", scenario))...)
}

func about(call ownership.CallID, p ownership.PartitionID, e ownership.Epoch) []attribute.KeyValue {
	out := []attribute.KeyValue{attribute.String("tandem.call", string(call))}
	if p != 0 {
		out = append(out, attribute.Int64("tandem.partition", int64(p)), attribute.Int64("tandem.epoch", int64(e))) //nolint:gosec // an epoch counts changes of owner
	}
	return out
}

// Carry returns the headers with the span of ctx in them, in place of whatever the cloud
// said there. The headers given are left as they are.
func (t *Traces) Carry(ctx context.Context, header map[string][]string) map[string][]string {
	if t == nil {
		return header
	}
	out := http.Header(maps.Clone(header))
	if out == nil {
		out = http.Header{}
	}
	out.Del(headerParent)
	out.Del("Tracestate")
	carrier.Inject(ctx, propagation.HeaderCarrier(out))
	return out
}

// From returns ctx within the span that headers carry.
func (t *Traces) From(ctx context.Context, header map[string][]string) context.Context {
	if t == nil {
		return ctx
	}
	return carrier.Extract(ctx, propagation.HeaderCarrier(header))
}

// Mark is what a redirect carries of the span of ctx; empty: nothing.
func (t *Traces) Mark(ctx context.Context) string {
	if t == nil {
		return ""
	}
	out := propagation.MapCarrier{}
	carrier.Inject(ctx, out)
	return out["traceparent"]
}

// Link ties the span of ctx to the one that a redirect's mark names; no mark, or one that
// is none, ties it to nothing.
func (t *Traces) Link(ctx context.Context, mark string) {
	if t == nil || mark == "" {
		return
	}
	from := trace.SpanContextFromContext(carrier.Extract(context.Background(), propagation.MapCarrier{"traceparent": mark}))
	if from.IsValid() {
		trace.SpanFromContext(ctx).AddLink(trace.Link{SpanContext: from, Attributes: []attribute.KeyValue{attribute.String("tandem.came_by", "redirect")}})
	}
}
