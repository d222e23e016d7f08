package traces

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// plain sends spans without the queries of their URLs: a callback URI's holds a signature,
// and that of a bot's address may hold a key.
type plain struct{ sdktrace.SpanExporter }

// ExportSpans implements sdktrace.SpanExporter.
func (p plain) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	out := make([]sdktrace.ReadOnlySpan, len(spans))
	for i, s := range spans {
		out[i] = plainSpan{s}
	}
	return p.SpanExporter.ExportSpans(ctx, out) //nolint:wrapcheck // the SDK tells it on
}

type plainSpan struct{ sdktrace.ReadOnlySpan }

// Attributes implements sdktrace.ReadOnlySpan.
func (s plainSpan) Attributes() []attribute.KeyValue {
	all := s.ReadOnlySpan.Attributes()
	out := make([]attribute.KeyValue, 0, len(all))
	for _, a := range all {
		switch a.Key {
		case "url.query":
			continue
		case "url.full", "http.url", "http.target":
			bare, _, _ := strings.Cut(a.Value.AsString(), "?")
			a = attribute.String(string(a.Key), bare)
		}
		out = append(out, a)
	}
	return out
}
