package webhook

import (
	"crypto/tls"
	"net/http"
	"time"
)

// Limits bounds what connections to the public listener may cost. Connections and Idle
// are settings of the node and must be above zero; zero values of the others mean the
// defaults.
type Limits struct {
	Connections int           // at one time; then strangers give way, see Listener
	Idle        time.Duration // between two requests of a connection
	Each        int           // of the connections from one address (IPv6: from one /64); default an eighth
	ReadHeader  time.Duration // from the first byte to the end of the headers; default 5 s
	Read        time.Duration // to the end of the body; default 10 s
	Write       time.Duration // from the end of the headers to the end of the answer; default 20 s
	HeaderBytes int           // of request line and headers; default 32 KiB, net/http adds 4 KiB of its own
	Streams     int           // of one HTTP/2 connection at one time; default 100
}

func (l Limits) withDefaults() Limits {
	setDefault(&l.ReadHeader, 5*time.Second)
	setDefault(&l.Read, 10*time.Second)
	setDefault(&l.Write, 20*time.Second)
	setDefault(&l.HeaderBytes, 32<<10)
	setDefault(&l.Each, max(l.Connections/8, 1))
	setDefault(&l.Streams, 100)
	return l
}

// NewServer returns the server of the public listener: HTTP/1.1, and HTTP/2 over
// TLS from 1.2 on. The caller puts certificates into TLSConfig, or a TLSConfig of
// its own in its place, sets ErrorLog, and serves it on a listener from
// Handler.Listener, which watches it.
//
// Limits.Write must outlast a body that comes slowly (Read) and then the door's
// own time-outs (Config.ClaimTimeout and Config.HandOver).
func NewServer(handler http.Handler, limits Limits) *http.Server {
	l := limits.withDefaults()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true) // by ALPN only: an h2c upgrade is ignored
	return &http.Server{
		Handler:                      handler,
		ReadHeaderTimeout:            l.ReadHeader,
		ReadTimeout:                  l.Read,
		WriteTimeout:                 l.Write,
		IdleTimeout:                  l.Idle,
		MaxHeaderBytes:               l.HeaderBytes,
		TLSConfig:                    &tls.Config{MinVersion: tls.VersionTLS12},
		DisableGeneralOptionsHandler: true, // OPTIONS * is no page of ours either
		Protocols:                    protocols,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          l.Streams,
			MaxReceiveBufferPerConnection: 1 << 20,
			MaxReceiveBufferPerStream:     256 << 10,
			WriteByteTimeout:              l.ReadHeader, // who reads nothing at all goes
		},
	}
}
