package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

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

// statusOf is the status of the answer that an error means.
func statusOf(err error) int {
	if known, ok := errors.AsType[huma.StatusError](problem(err)); ok {
		return known.GetStatus()
	}
	return http.StatusInternalServerError
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

// The door says in its own words what is wrong with a request that its description does
// not allow. The library would say "validation failed" and leave the rest to programs;
// here it is a sentence, and 400 where what is wrong stands in the path or the query.
func init() { //nolint:gochecknoinits // the library's own way to give errors another text
	plain := huma.NewErrorWithContext
	huma.NewErrorWithContext = func(ctx huma.Context, status int, text string, errs ...error) huma.StatusError {
		if status == http.StatusUnprocessableEntity && text == "validation failed" && len(errs) > 0 {
			status, text = wrong(errs)
		}
		return plain(ctx, status, text, errs...)
	}
}

// wrong says what is wrong with a request, and with which status.
func wrong(errs []error) (status int, text string) {
	status = http.StatusBadRequest
	var all []string
	for _, err := range errs {
		d, ok := err.(huma.ErrorDetailer)
		if !ok {
			all = append(all, err.Error())
			continue
		}
		detail := d.ErrorDetail()
		part, name, _ := strings.Cut(detail.Location, ".")
		if part == "body" {
			status = http.StatusUnprocessableEntity
		}
		all = append(all, mistake(part, name, detail))
	}
	return status, strings.Join(all, "; ") + "."
}

// mistake tells one of them.
func mistake(part, name string, d *huma.ErrorDetail) string {
	if d.Message == "unknown query parameter" {
		return fmt.Sprintf("There is no parameter %q here; /v1/docs lists those that there are", name)
	}
	name, value := cmp.Or(name, "the "+part), ""
	switch v := d.Value.(type) {
	case string:
		value = fmt.Sprintf(" is %.64q", v)
	case int64, uint64, float64, bool, int, uint32, uint:
		value = fmt.Sprintf(" is %v", v)
	}
	return name + value + ": " + wanted(d.Message)
}

// wordings turn what the library says into what to write instead.
var wordings = []struct {
	said *regexp.Regexp
	want string
}{
	{regexp.MustCompile(`^(?:invalid|expected) integer$`), "write a whole number"},
	{regexp.MustCompile(`^(?:invalid float|expected number)$`), "write a number"},
	{regexp.MustCompile(`^(?:invalid|expected) boolean$`), "write true or false"},
	{regexp.MustCompile(`^expected string to be RFC 3339 date-time$|^invalid date/time.*`), "write a time as in 2006-01-02T15:04:05Z"},
	{regexp.MustCompile(`^expected number >= (.+)$`), "write $1 or more"},
	{regexp.MustCompile(`^expected number <= (.+)$`), "write $1 or less"},
	{regexp.MustCompile(`^expected length >= (.+)$`), "write $1 characters or more"},
	{regexp.MustCompile(`^expected length <= (.+)$`), "write $1 characters at most"},
	{regexp.MustCompile(`^expected value to be one of "(.+)"$`), "write one of $1"},
	{regexp.MustCompile(`^expected required property (.+) to be present$`), "$1 is missing"},
	{regexp.MustCompile(`^unexpected property$`), "there is no such key here"},
	{regexp.MustCompile(`^expected string to be (.+)$`), "write $1"},
}

func wanted(said string) string {
	for _, w := range wordings {
		if w.said.MatchString(said) {
			return w.said.ReplaceAllString(said, w.want)
		}
	}
	return said
}
