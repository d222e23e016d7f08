// Package traces makes OpenTelemetry traces of notifications: from the public door over
// claim, relay and the bot to Graph, sent by OTLP to where the standard environment
// variables say (OTEL_EXPORTER_OTLP_ENDPOINT and its like). Without them there are none,
// and they cost nothing: a nil *Traces is what all rooms get then.
//
// A notification that goes on inside of the deployment, to another node, to the bot, to
// another region by letter, carries its span in its headers (traceparent, W3C Trace
// Context). A redirect goes through the cloud, which passes on neither headers nor
// context: its Location carries the span in the query, and the trace at the next door is
// linked with it, not a part of it. For that text comes from outside, unsigned; a link is
// all that it can bring about, and whether a trace is kept it does not decide.
//
// No token, secret, signature or body is in a span: queries are cut off every URL.
package traces
