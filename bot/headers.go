package bot

import (
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"tandem/ownership"
)

// The headers that Tandem adds for the bot.
const (
	headerEvent       = "Tandem-Event"
	headerCall        = "Tandem-Call"
	headerApp         = "Tandem-App"
	headerTenant      = "Tandem-Tenant" // absent where the call's is not known
	headerPartition   = "Tandem-Partition"
	headerEpoch       = "Tandem-Epoch"
	headerCallbackURI = "Tandem-Callback-Uri"
	headerDeadline    = "Tandem-Deadline" // RFC 3339, UTC; absent where nothing runs out
)

// connectionHeaders belong to one connection (RFC 9110 7.6.1, and the older
// names that proxies know) or are set anew by the next sender.
var connectionHeaders = []string{"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate",
	"Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "Host", "Expect"}

func headersToBot(h ownership.HandOver) http.Header {
	out := endToEnd(withoutToken(h.Header))
	for name := range out {
		if strings.HasPrefix(name, "Tandem-") { // only this node speaks these
			delete(out, name)
		}
	}
	out.Set(headerEvent, string(h.Event))
	out.Set(headerCall, string(h.Call))
	out.Set(headerApp, string(h.App))
	if h.Tenant != "" {
		out.Set(headerTenant, string(h.Tenant))
	}
	out.Set(headerPartition, h.Partition.String())
	out.Set(headerEpoch, h.Epoch.String())
	if h.CallbackURI != "" {
		out.Set(headerCallbackURI, h.CallbackURI)
	}
	if !h.Deadline.IsZero() {
		out.Set(headerDeadline, h.Deadline.UTC().Format(time.RFC3339Nano))
	}
	return out
}

// withoutToken copies headers without the cloud's bearer token, whatever the
// case of the name: whoever holds it can speak as the cloud.
func withoutToken(in map[string][]string) map[string][]string {
	out := maps.Clone(in)
	maps.DeleteFunc(out, func(name string, _ []string) bool { return strings.EqualFold(name, "Authorization") })
	return out
}

// headersFromBot returns what of a bot's reply passes on to the cloud. Location
// does not: every address that Tandem sends the cloud to comes from the
// configuration.
func headersFromBot(in map[string][]string) http.Header {
	out := endToEnd(in)
	out.Del("Location")
	out.Del("Date")
	return out
}

// endToEnd copies headers, with canonical names, without those of one
// connection and those that Connection names.
func endToEnd(in map[string][]string) http.Header {
	out := http.Header{}
	for name, values := range in {
		name = textproto.CanonicalMIMEHeaderKey(name)
		out[name] = append(out[name], values...)
	}
	drop := slices.Clone(connectionHeaders)
	for _, list := range out["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			drop = append(drop, strings.TrimSpace(name))
		}
	}
	for _, name := range drop {
		out.Del(name)
	}
	return out
}
