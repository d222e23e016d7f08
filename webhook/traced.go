package webhook

import (
	"context"

	"tandem/traces"
)

// traced ties the span of a request to what is known of it by now.
func (q *request) traced(ctx context.Context, t *traces.Traces) {
	if t == nil {
		return
	}
	t.Link(ctx, q.from)
	q.trace = t.Mark(ctx)
	s := q.step("", &q.parts[0])
	if q.handle != nil {
		s.Partition, s.Epoch = q.handle.Partition, q.handle.Epoch
	}
	t.About(ctx, s.Call, s.Partition, s.Epoch, s.Message, s.Scenario)
}

// appendTrace writes the request's span behind the query of a redirect.
func (q *request) appendTrace(b []byte) []byte {
	if q.trace == "" {
		return b
	}
	return append(append(b, "&"+traces.MarkParam+"="...), q.trace...)
}
