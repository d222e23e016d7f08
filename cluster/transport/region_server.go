package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"tandem/ownership"
)

// RegionConfig is what the server of the regions' link asks others.
type RegionConfig struct {
	Self      Identity
	Handshake time.Duration // bound of a request's headers
	Process   string        // of this node
	Clock     func() int64  // of the process, in nanoseconds above zero
	// Letter is the public door for what another region relays: it gets the request as
	// the cloud sent it. Its context ends when the sender gives the letter up.
	Letter http.Handler
	// Known returns those of the calls that the region knows; an error says that nobody
	// can tell now.
	Known   func(context.Context, []ownership.CallID) ([]ownership.CallID, error)
	Refused func(why string) // counts what was refused
	Logger  *slog.Logger
}

// Bounds of the link's server, beside those of the port.
const (
	regionStreams = 250              // of one connection at one time
	regionRead    = 10 * time.Second // to the end of a body
	regionWrite   = 30 * time.Second // to the end of an answer, the door's own time-outs counted in
)

// NewRegionServer returns the other end of the regions' link; nil credentials: plain, on
// loopback only. Whoever asks is of another region of this deployment, and may do here
// what it could do at the public door, and ask which calls are known.
func NewRegionServer(creds *Credentials, cfg RegionConfig) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true) // inside of TLS, see farConn
	d := &regionDoor{cfg, creds != nil}
	mux := http.NewServeMux()
	mux.Handle(pathLetter+"/", http.StripPrefix(pathLetter, http.HandlerFunc(d.letter)))
	mux.HandleFunc(pathKnown, d.known)
	mux.HandleFunc(pathSign, func(http.ResponseWriter, *http.Request) {})
	return &http.Server{
		Handler:           d.heldAgainst(http.MaxBytesHandler(mux, maxLetter)),
		Protocols:         protocols,
		ReadHeaderTimeout: cfg.Handshake,
		ReadTimeout:       regionRead,
		WriteTimeout:      regionWrite,
		IdleTimeout:       2 * idleLimit, // the dialling side closes first
		MaxHeaderBytes:    maxLetterHead,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: regionStreams, SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if far, ok := c.(*farConn); ok {
				ctx = context.WithValue(ctx, farKey{}, far.who)
			}
			return ctx
		},
	}
}

type farKey struct{}

type regionDoor struct {
	RegionConfig
	secure bool
}

// heldAgainst lets a request through when its speaker is of another region of this
// deployment and, under TLS, the one whom the certificate names. It leaves nothing of the
// link's own in the headers.
func (d *regionDoor) heldAgainst(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		said := Identity{r.Header.Get(headerDeployment), ownership.Region(r.Header.Get(headerRegion)), ownership.NodeID(r.Header.Get(headerNode))}
		shown, _ := r.Context().Value(farKey{}).(Identity)
		if said.Deployment != d.Self.Deployment || said.Region == "" || said.Region == d.Self.Region || d.secure && said != shown {
			d.Refused("speaks for another region")
			d.notTaken(w, http.StatusForbidden, fmt.Errorf("taking a letter: %s is no other region of this deployment, or not who speaks", said.URI()))
			return
		}
		for _, own := range []string{headerDeployment, headerRegion, headerNode, HeaderOperator} {
			r.Header.Del(own)
		}
		d.sign(w)
		next.ServeHTTP(w, r)
	})
}

// sign puts this process's clock on an answer.
func (d *regionDoor) sign(w http.ResponseWriter) {
	w.Header().Set(headerClock, d.Process+"."+strconv.FormatInt(d.Clock(), 10))
}

// notTaken tells the sender that nothing was done with its letter.
func (d *regionDoor) notTaken(w http.ResponseWriter, status int, why error) {
	w.Header().Set(headerTaken, "1")
	http.Error(w, why.Error(), status)
}

// errLate: the sender has told the cloud that it failed, and the cloud comes again.
var errLate = errors.New("taking a letter: it comes too late, its sender has given it up")

// letter gives a letter to the public door, within the time that its sender has for it.
func (d *regionDoor) letter(w http.ResponseWriter, r *http.Request) {
	if until := r.Header.Get(headerUntil); until != "" {
		process, at, ok := readClock(until)
		left := time.Duration(at - d.Clock())
		if !ok || process != d.Process || left <= 0 {
			d.notTaken(w, http.StatusServiceUnavailable, errLate)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), left)
		defer cancel()
		r = r.WithContext(ctx)
	}
	r.Header.Del(headerUntil)
	if d.Letter == nil {
		d.notTaken(w, http.StatusServiceUnavailable, errors.New("taking a letter: this node has no door for it yet"))
		return
	}
	d.Letter.ServeHTTP(w, r)
}

// known answers the question which calls the region knows.
func (d *regionDoor) known(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body) // bounded, see NewRegionServer
	var calls []ownership.CallID
	if err == nil {
		calls, err = readCalls(text)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	known, err := d.Known(r.Context(), calls)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write(writeCalls(known)) // or the asking node has gone
}
