package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"

	"tandem/admin/console"
)

const sessionsMax = 1024 // at a time; the oldest gives way

// sessions are the console's logins at this node. A browser keeps a session's id,
// not the token: an id opens the pages of one node for some hours, and nothing
// of the API.
type sessions struct {
	mu  sync.Mutex
	all map[string]session // by the id's hash, which tells a thief of the memory nothing
	now func() time.Time
}

type session struct {
	who   visitor // who logged in; its token is looked at again with each page
	since time.Time
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{all: map[string]session{}, now: now}
}

// begin returns the id of a new session.
func (s *sessions) begin(who visitor) string {
	id := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest, now := "", s.now()
	for key, one := range s.all {
		if now.Sub(one.since) >= console.SessionLife {
			delete(s.all, key)
		} else if oldest == "" || one.since.Before(s.all[oldest].since) {
			oldest = key
		}
	}
	if len(s.all) >= sessionsMax {
		delete(s.all, oldest)
	}
	s.all[sessionKey(id)] = session{who, now}
	return id
}

// find returns who began the session of an id.
func (s *sessions) find(id string) (visitor, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.all[sessionKey(id)]
	return one.who, ok && s.now().Sub(one.since) < console.SessionLife
}

func (s *sessions) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, sessionKey(id))
}

// sessionKey is looked up as a hash, so that no comparison tells how much of a
// guess was right.
func sessionKey(id string) string {
	sum := sha256.Sum256([]byte(id))
	return string(sum[:])
}
