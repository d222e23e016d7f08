package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humahttprouter"

	"tandem/admin/api"
	"tandem/ownership"
)

// snapshots are the whole table in one file.
type snapshots struct{ *Door }

// saveSnapshot streams the table. An error before the first byte becomes a
// problem; one after it breaks the connection, so that half a file is never
// taken for a whole one.
func (d snapshots) saveSnapshot(context.Context, *empty) (*huma.StreamResponse, error) {
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		_, w, _ := humahttprouter.Unwrap(ctx)
		out := http.NewResponseController(w)
		if err := out.SetWriteDeadline(time.Now().Add(api.SnapshotTime)); err != nil {
			d.log.Warn("a snapshot is written without a deadline of its own", "err", err)
		}
		c, cancel := context.WithTimeout(ctx.Context(), api.SnapshotTime)
		defer cancel()
		file := &countingWriter{w: w, first: func() {
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="tandem-%s-%d.snapshot"`, fileWord(string(d.cfg.Region)), d.deps.Table.Applied()))
			w.Header().Set("Tandem-Applied-Index", fmt.Sprint(d.deps.Table.Applied()))
			ctx.SetStatus(http.StatusOK)
		}}
		err := d.deps.Cluster.SaveSnapshot(c, file)
		if err == nil {
			if file.n == 0 {
				_ = huma.WriteErr(d.api, ctx, http.StatusInternalServerError, "The snapshot came out empty.") // huma logs a failed write itself
			}
			return
		}
		d.log.Error("saving a snapshot failed", "written", file.n, "err", err)
		note(ctx.Context(), "failed: "+err.Error())
		if file.n > 0 {
			panic(http.ErrAbortHandler)
		}
		_ = huma.WriteErr(d.api, ctx, statusOf(err), err.Error()) // huma logs a failed write itself
	}}, nil
}

// uploadAsked takes the request's body as a stream.
type uploadAsked struct {
	Yes      bool `query:"yes" doc:"Also a snapshot of another history: the region's calls of today are lost."`
	Unsigned bool `query:"unsigned" doc:"Also a snapshot that no handle key of this deployment has signed: you know where it comes from."`
	Tokens   bool `query:"tokens" doc:"Take the snapshot's tokens of the admin doors too, in place of today's; some may have been revoked since."`
	r        *http.Request
	w        http.ResponseWriter
}

// Resolve keeps the request, so that its body need not fit in memory.
func (u *uploadAsked) Resolve(ctx huma.Context) []error {
	u.r, u.w, _ = humahttprouter.Unwrap(ctx)
	return nil
}

func (d snapshots) restoreSnapshot(ctx context.Context, in *uploadAsked) (*empty, error) {
	deadline := time.Now().Add(api.SnapshotTime)
	out := http.NewResponseController(in.w)
	if err := errors.Join(out.SetReadDeadline(deadline), out.SetWriteDeadline(deadline)); err != nil {
		d.log.Warn("a snapshot is read without a deadline of its own", "err", err)
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	body := http.MaxBytesReader(in.w, in.r.Body, d.cfg.SnapshotLimit)
	terms := ownership.RestoreTerms{Anyhow: in.Yes, Unsigned: in.Unsigned, Tokens: in.Tokens}
	note(ctx, fmt.Sprintf("anyhow %t, unsigned %t, with its tokens %t", terms.Anyhow, terms.Unsigned, terms.Tokens))
	err := d.deps.Cluster.RestoreSnapshot(ctx, body, terms)
	var tooLong *http.MaxBytesError
	switch {
	case err == nil:
		return nil, nil
	case errors.As(err, &tooLong):
		return nil, huma.NewError(http.StatusRequestEntityTooLarge, fmt.Sprintf("A snapshot may have %d bytes here.", tooLong.Limit))
	case errors.Is(err, ownership.ErrNoLeader), errors.Is(err, ownership.ErrConflict), errors.Is(err, ctx.Err()) && ctx.Err() != nil:
		return nil, problem(err)
	}
	// What is left is a file that the store would not take.
	return nil, huma.Error422UnprocessableEntity(err.Error())
}

// countingWriter counts what passes and calls first before the first byte.
type countingWriter struct {
	w     io.Writer
	n     int64
	first func()
}

func (c *countingWriter) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil // it would send the headers, and the status could not be changed
	}
	if c.n == 0 {
		c.first()
	}
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// fileWord keeps a region's name to what is safe in a file name.
func fileWord(s string) string {
	out := []byte(s)
	for i, c := range out {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			out[i] = '_'
		}
	}
	return string(out)
}
