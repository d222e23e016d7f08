package transport

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// TestO20_OneLineOfASilentNode: a line when a node goes, one when it returns, a
// reminder a minute.
func TestO20_OneLineOfASilentNode(t *testing.T) {
	var log bytes.Buffer
	to := slog.New(slog.NewTextHandler(&log, nil))
	told := map[raft.ServerID]time.Time{}
	at := time.Now()
	for s := range 150 { // seconds
		for range 5 {
			tellOfPeer(to, told, raft.FailedHeartbeatObservation{PeerID: "b"}, at.Add(time.Duration(s)*time.Second))
		}
	}
	tellOfPeer(to, told, raft.ResumedHeartbeatObservation{PeerID: "b"}, at)
	tellOfPeer(to, told, raft.ResumedHeartbeatObservation{PeerID: "b"}, at)
	tellOfPeer(to, told, raft.FailedHeartbeatObservation{PeerID: "b"}, at)
	for text, want := range map[string]int{"a node does not answer": 2, "a node still does not answer": 2, "a node answers again": 1} {
		if n := strings.Count(log.String(), text); n != want {
			t.Errorf("%q is said %d times, want %d", text, n, want)
		}
	}
}
