package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"tandem/ownership"
)

// retryAfter is what a caller is asked to wait when the region cannot decide
// now: the time in which an election normally ends, in seconds.
const retryAfter = "2"

// problem turns an error of the rooms below into the answer it means. The text
// of the error is passed on: whoever reads it has shown a token.
func problem(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ownership.ErrUnknown):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, ownership.ErrForeign):
		return huma.Error403Forbidden(err.Error())
	case errors.Is(err, ownership.ErrConflict), errors.Is(err, ownership.ErrStaleEpoch), errors.Is(err, ownership.ErrFutureEpoch),
		errors.Is(err, ownership.ErrTwin), errors.Is(err, ownership.ErrGone):
		return huma.Error409Conflict(err.Error())
	case errors.Is(err, ownership.ErrNoLeader), errors.Is(err, ownership.ErrFenced), errors.Is(err, ownership.ErrFull),
		errors.Is(err, ownership.ErrNoBot), errors.Is(err, ownership.ErrBehind),
		errors.Is(err, ownership.ErrUnreachable), errors.Is(err, ownership.ErrBusy):
		return unavailable(err.Error())
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return unavailable("The region did not decide in time: " + err.Error())
	}
	var known huma.StatusError
	if errors.As(err, &known) {
		return err
	}
	return huma.Error500InternalServerError(err.Error())
}

// unavailable is a 503 that says when to come back.
func unavailable(text string) error {
	return huma.ErrorWithHeaders(huma.Error503ServiceUnavailable(text), http.Header{"Retry-After": {retryAfter}})
}

// absent is the 501 of something that this node was built without.
func absent(what string) error {
	return huma.NewError(http.StatusNotImplemented, what+" is not set up on this node.")
}

// writeProblem answers outside huma's operations in the same shape.
func writeProblem(w http.ResponseWriter, status int, detail string) {
	body, err := json.Marshal(huma.ErrorModel{Status: status, Title: http.StatusText(status), Detail: detail})
	if err != nil {
		http.Error(w, http.StatusText(status), status)
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a caller that has gone needs no answer
}
