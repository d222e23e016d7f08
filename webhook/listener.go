package webhook

import (
	"net"

	"tandem/doorway"
)

// Listener bounds the connections of a listener, so that they and their descriptors
// are bounded, and those of one address. When the places are taken, whoever has been
// idle the longest without a good token gives way, so nobody can hold the door and
// keep the cloud waiting. Behind something that hides the callers' addresses
// (Config.Hidden) there is no cap of an address, nor for proxies that tell them.
//
// The server that serves it must be watched: Door.Watch.
func (h *Handler) Listener(inner net.Listener, l Limits) *doorway.Door {
	l = l.withDefaults()
	each := l.Each
	if h.cfg.Hidden {
		each = l.Connections
	}
	return doorway.New(inner, doorway.Config{
		All: l.Connections, Each: each, Trusted: h.cfg.Proxies, ProxyProtocol: h.cfg.ProxyProtocol, Crowded: h.count.crowded.Inc,
	})
}
