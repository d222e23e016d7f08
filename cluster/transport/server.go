package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"tandem/cluster/peerpb"
	"tandem/ownership"
)

// ServerConfig is what a server of the peer link asks others.
type ServerConfig struct {
	Self      Identity
	Handshake time.Duration                   // bound of a request's headers
	Guard     func(http.Handler) http.Handler // is asked of every request before a byte of its body is read
	Refused   func(why string)                // counts what was refused
	Logger    *slog.Logger
}

// NewServer returns the other end of the peer link; nil credentials: plain, on loopback
// only. Whoever asks is who the certificate says, see SpeakerOf, and is of this region.
func NewServer(creds *Credentials, procedures peerpb.PeerHandler, cfg ServerConfig) *http.Server {
	_, handler := peerpb.NewPeerHandler(procedures, connect.WithReadMaxBytes(maxMessage), connect.WithCompressMinBytes(compressFrom),
		connect.WithInterceptors(telling{}))
	protocols := new(http.Protocols)
	if creds == nil {
		protocols.SetUnencryptedHTTP2(true)
	} else {
		protocols.SetHTTP2(true)
	}
	return &http.Server{
		Handler:           heldAgainst(creds, cfg.Self, cfg.Refused, cfg.Guard(handler)),
		Protocols:         protocols,
		ReadHeaderTimeout: cfg.Handshake,
		IdleTimeout:       2 * idleLimit, // the dialling side closes first
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 1000, SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
}

// compressFrom is how long an answer is that is worth the time of compressing it.
// Nearly all of them have a few dozen bytes.
const compressFrom = 16 << 10

// telling gives the errors of procedures what fromConnect reads on the other side.
type telling struct{}

// WrapUnary implements connect.Interceptor.
func (telling) WrapUnary(serve connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		res, err := serve(ctx, req)
		if err != nil {
			return nil, toConnect(err)
		}
		return res, nil
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (telling) WrapStreamingHandler(serve connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if err := serve(ctx, conn); err != nil {
			return toConnect(err)
		}
		return nil
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (telling) WrapStreamingClient(call connect.StreamingClientFunc) connect.StreamingClientFunc {
	return call
}

// Refuse answers a request with an error, as a procedure would.
func Refuse(w http.ResponseWriter, r *http.Request, err error) {
	_ = connect.NewErrorWriter().Write(w, r, toConnect(err))
}

type speakerKey struct{}

// SpeakerOf returns the node that sent the request being handled.
func SpeakerOf(ctx context.Context) ownership.NodeID {
	id, _ := ctx.Value(speakerKey{}).(ownership.NodeID)
	return id
}

// heldAgainst lets a request through when its speaker is of this deployment and
// region and, under TLS, is the one whom the certificate names.
func heldAgainst(creds *Credentials, self Identity, refused func(string), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		said := Identity{r.Header.Get(headerDeployment), ownership.Region(r.Header.Get(headerRegion)), ownership.NodeID(r.Header.Get(headerNode))}
		if err := speakerAllowed(creds, self, said, r.TLS); err != nil {
			refused("speaks for another node")
			Refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), speakerKey{}, said.Node)))
	})
}

func speakerAllowed(creds *Credentials, self, said Identity, state *tls.ConnectionState) error {
	if said.Deployment != self.Deployment || said.Region != self.Region {
		return &peerError{text: "taking a peer's request: it comes from " + said.URI().String() + ", this is " + self.URI().String() + ": a node of another deployment or region is not let in", kind: ownership.ErrForeign}
	}
	if said.Node == "" {
		return errors.New("taking a peer's request: it does not say which node speaks")
	}
	if creds == nil {
		return nil
	}
	if state == nil {
		return errors.New("taking a peer's request: it did not come over TLS")
	}
	_, err := creds.check(*state, said.Node)
	return err
}
