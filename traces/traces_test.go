package traces

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestTheEnvironmentDecides whether there are traces, by the standard's names.
func TestTheEnvironmentDecides(t *testing.T) {
	t.Parallel()
	const at = "http://collector:4318"
	for name, c := range map[string]struct {
		env    map[string]string
		wanted bool
		says   string
	}{
		"nothing":          {nil, false, ""},
		"endpoint":         {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": at}, true, ""},
		"traces endpoint":  {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": at}, true, ""},
		"exporter":         {map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, true, ""},
		"disabled":         {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": at, "OTEL_SDK_DISABLED": "true"}, false, ""},
		"none":             {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": at, "OTEL_TRACES_EXPORTER": "none"}, false, ""},
		"another exporter": {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": at, "OTEL_TRACES_EXPORTER": "zipkin"}, false, "zipkin"},
		"grpc":             {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": at, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, false, "http/protobuf"},
		"http":             {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": at, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}, true, ""},
	} {
		wanted, err := Wanted(func(name string) string { return c.env[name] })
		if wanted != c.wanted || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %t, %v", name, wanted, err)
		}
	}
}

// TestWithoutTracesNothingIsDone: no allocation, and what passes is what came.
func TestWithoutTracesNothingIsDone(t *testing.T) {
	var none *Traces
	ctx, header := context.Background(), map[string][]string{"Traceparent": {"theirs"}}
	if n := testing.AllocsPerRun(100, func() {
		in, end := none.Span(ctx, "x", "c", 1, 1)
		none.Link(in, "mark")
		none.About(in, "c", 1, 1, "m", "s")
		if none.Mark(in) != "" || len(none.Carry(in, header)) != 1 || none.From(in, header) != ctx {
			t.Fatal("something is done")
		}
		end(nil)
	}); n != 0 {
		t.Errorf("%.0f allocations", n)
	}
	if none.Transport("x", http.DefaultTransport) != http.DefaultTransport || none.Close(ctx) != nil {
		t.Error("a transport is wrapped")
	}
}

// kept are traces that stay in this process.
func kept(t testing.TB) (*Traces, *tracetest.InMemoryExporter) {
	t.Helper()
	out := tracetest.NewInMemoryExporter()
	tr := sendingTo(out, resource.Empty())
	t.Cleanup(func() { _ = tr.Close(context.Background()) })
	return tr, out
}

// TestASpanGoesOnInHeaders to another node, in place of the cloud's own word, and the
// headers that came stay as they were.
func TestASpanGoesOnInHeaders(t *testing.T) {
	t.Parallel()
	tr, out := kept(t)
	header := map[string][]string{"Traceparent": {"00-11111111111111111111111111111111-2222222222222222-01"}, "Tracestate": {"a=b"}, "Scenario-Id": {"s"}}
	before := maps.Clone(header)
	ctx, end := tr.Span(context.Background(), "outer", "c1", 2, 3)
	carried := tr.Carry(ctx, header)
	_, endInner := tr.Span(tr.From(context.Background(), carried), "inner", "c1", 2, 3)
	endInner(nil)
	end(nil)
	if !maps.EqualFunc(before, header, func(a, b []string) bool { return a[0] == b[0] }) || carried["Scenario-Id"][0] != "s" || carried["Tracestate"] != nil {
		t.Errorf("headers %v, carried %v", header, carried)
	}
	if err := tr.provider.ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	spans := out.GetSpans()
	if len(spans) != 2 || spans[0].Name != "inner" || spans[0].Parent.SpanID() != spans[1].SpanContext.SpanID() || spans[0].SpanContext.TraceID() != spans[1].SpanContext.TraceID() {
		t.Errorf("%+v", spans)
	}
}

// TestStrangersBringLinksOnly: what a request from outside says of its trace is no parent,
// and a redirect's mark is a link beside it. Another node is believed.
func TestStrangersBringLinksOnly(t *testing.T) {
	t.Parallel()
	const parent = "00-11111111111111111111111111111111-2222222222222222-01"
	for name, strangers := range map[string]bool{"strangers": true, "nodes": false} {
		tr, out := kept(t)
		door := tr.Door(name, strangers, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			tr.Link(r.Context(), "00-33333333333333333333333333333333-4444444444444444-01")
			tr.Link(r.Context(), "no mark")
		}))
		r := httptest.NewRequest(http.MethodPost, "/api/calls?s=k1.signature", nil)
		r.Header.Set("Traceparent", parent)
		door.ServeHTTP(httptest.NewRecorder(), r)
		door.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/healthz", nil))
		if err := tr.provider.ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
		spans := out.GetSpans()
		if len(spans) != 1 {
			t.Fatalf("%s: %d spans", name, len(spans))
		}
		within := spans[0].SpanContext.TraceID().String() == "11111111111111111111111111111111"
		links := len(spans[0].Links)
		if within == strangers || strangers && links != 2 || !strangers && links != 1 {
			t.Errorf("%s: within their trace: %t, %d links", name, within, links)
		}
	}
}

// TestURLsAreToldWithoutQueries, for they hold keys and signatures.
func TestURLsAreToldWithoutQueries(t *testing.T) {
	t.Parallel()
	tr, out := kept(t)
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	c := http.Client{Transport: tr.Transport("bot", &http.Transport{})}
	defer c.CloseIdleConnections()
	res, err := c.Post(srv.URL+"/bot?code=secret-key", "text/plain", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if err := tr.provider.ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range out.GetSpans() {
		for _, a := range s.Attributes {
			if strings.Contains(a.Value.String(), "secret-key") {
				t.Errorf("%s is %s", a.Key, a.Value.String())
			}
		}
	}
	if len(out.GetSpans()) != 1 {
		t.Errorf("%d spans", len(out.GetSpans()))
	}
}

// FuzzMark: whatever stands in a redirect's query, the request goes on.
func FuzzMark(f *testing.F) {
	f.Add("00-33333333333333333333333333333333-4444444444444444-01")
	f.Add("")
	tr, _ := kept(f)
	f.Fuzz(func(_ *testing.T, mark string) {
		ctx, end := tr.Span(context.Background(), "x", "", 0, 0)
		tr.Link(ctx, mark)
		tr.From(ctx, map[string][]string{"Traceparent": {mark}, "Tracestate": {mark}})
		end(nil)
	})
}
