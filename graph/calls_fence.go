package graph

import (
	"bytes"
	"io"
	"sync/atomic"
)

// fence asks the permit once more when the transport reads the request's body:
// by then a connection has been found, so between the last question and the wire
// lies one write. Asking only before http.Client.Do would leave out a dial, a
// TLS handshake, and the time that a paused process lost in them. Headers
// without their body are no action.
type fence struct {
	check   func() error
	body    []byte
	refused atomic.Pointer[error]
}

// open returns the body for one transmission; the transport may ask for another.
func (f *fence) open() (io.ReadCloser, error) {
	return io.NopCloser(&fencedBody{f: f, r: bytes.NewReader(f.body)}), nil
}

// verdict is the permit's error, where it was withdrawn at the last moment.
func (f *fence) verdict() error {
	if e := f.refused.Load(); e != nil {
		return *e
	}
	return nil
}

type fencedBody struct {
	f     *fence
	r     *bytes.Reader
	asked bool
}

// Read implements io.Reader. Its error keeps the whole request from the wire.
func (b *fencedBody) Read(p []byte) (int, error) {
	if !b.asked {
		if err := b.f.check(); err != nil {
			b.f.refused.CompareAndSwap(nil, &err)
			return 0, err
		}
		b.asked = true
	}
	return b.r.Read(p)
}
