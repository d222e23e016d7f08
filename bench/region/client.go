package region

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"tandem/faultrig/claims"
	"tandem/faultrig/fleet"
)

// Refusal is an answer that takes nothing.
type Refusal struct {
	Status int
	text   string
}

// Error says what was answered.
func (r *Refusal) Error() string { return fmt.Sprintf("a node answered %d: %s", r.Status, r.text) }

// Refused reports whether an error is a refusal of a status.
func Refused(err error, status int) bool {
	var r *Refusal
	return errors.As(err, &r) && r.Status == status
}

// errNowhere: the call is not live, as far as the bot knows.
var errNowhere = errors.New("the bot knows no such call")

// What the cloud tells of a call, cut where its id stands.
const anID = "00000000000000000000000000000000"

var (
	first       = strings.Split(claims.PlainCall.Incoming(anID), anID)
	established = strings.Split(strings.NewReplacer(`"created"`, `"updated"`, `"state":"incoming"`, `"state":"established"`).Replace(claims.PlainCall.Incoming(anID)), anID)
	terminated  = strings.Split(strings.NewReplacer(`"created"`, `"deleted"`, `"state":"incoming"`, `"state":"terminated"`).Replace(claims.PlainCall.Incoming(anID)), anID)
)

// Claim makes up a call and posts its first notification to a node, and to its owner if
// that is another one. It returns the call's number; placed, if not nil, hears of the first
// answer.
func (r *Region) Claim(ctx context.Context, at *fleet.Node, placed func(error)) (uint64, error) {
	n := r.numbers.Add(1)
	body := strings.Join(first, string(call(n)))
	to, err := r.post(ctx, at.Public+"/api/calls", body)
	if placed != nil {
		placed(err)
	}
	if err == nil && to != "" {
		_, err = r.post(ctx, to, body)
	}
	return n, err
}

// Follow posts a later notification of a call to a node; nil: to its owner.
func (r *Region) Follow(ctx context.Context, at *fleet.Node, n uint64) error {
	return r.later(ctx, at, n, established)
}

// End posts the end of a call to its owner.
func (r *Region) End(ctx context.Context, n uint64) error {
	if err := r.later(ctx, nil, n, terminated); err != nil {
		return err
	}
	r.Bot.slot(n).Store(nil)
	return nil
}

func (r *Region) later(ctx context.Context, at *fleet.Node, n uint64, what []string) error {
	seat := r.Bot.Seat(n)
	if seat == nil {
		return errNowhere
	}
	if at == nil {
		at = r.node(seat.Node)
	}
	to, err := r.post(ctx, at.Public+seat.path, strings.Join(what, string(call(n))))
	if err == nil && to != "" {
		err = fmt.Errorf("%s answered with a redirect to %s", at.ID, to)
	}
	return err
}

// post posts a notification with an id of its own, and returns where it is sent on to.
func (r *Region) post(ctx context.Context, to, body string) (location string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Microsoft-Skype-Message-ID", fmt.Sprintf("00000000-0000-4000-8000-%012x", r.posted.Add(1)))
	res, err := r.http.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<16))
	if err == nil && res.StatusCode != http.StatusFound && res.StatusCode/100 != 2 {
		err = &Refusal{res.StatusCode, string(text)}
	}
	return res.Header.Get("Location"), err
}
