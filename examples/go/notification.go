package main

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
)

// notification is what the bot reads of a body: Graph's, or of an event of Tandem's own.
type notification struct {
	Event string `json:"event"`
	Call  struct {
		State, Thread string
	} `json:"call"`
	Value []struct {
		ChangeType, Resource, ResourceURL string
		ResourceData                      json.RawMessage // an object, or a roster's list
	} `json:"value"`
}

// ends reports whether it tells of the end of this call, and not of one of its operations.
func (n notification) ends(call string) bool {
	for _, v := range n.Value {
		of, id := path.Split(cmp.Or(v.Resource, v.ResourceURL))
		var data struct{ State string }
		_ = json.Unmarshal(v.ResourceData, &data) // a list has no state
		if strings.HasSuffix(of, "/calls/") && strings.EqualFold(strings.ReplaceAll(id, "-", ""), call) &&
			(strings.EqualFold(v.ChangeType, "deleted") || strings.EqualFold(data.State, "terminated")) {
			return true
		}
	}
	return false
}

// joining reports whether a participant waits to be let in.
func (n notification) joining() bool {
	for _, v := range n.Value {
		if strings.Contains(string(v.ResourceData), "#microsoft.graph.participantJoiningNotification") {
			return true
		}
	}
	return false
}

var signed = []string{"Event", "Call", "App", "Tenant", "Partition", "Epoch", "Callback-Uri", "Deadline"}

// fromRouter checks the signature; without a secret there is none to check.
func fromRouter(secret string, h http.Header, body []byte) bool {
	if secret == "" {
		return true
	}
	stamp, sum, _ := strings.Cut(strings.TrimPrefix(h.Get("Tandem-Signature"), "t="), ",v1=")
	unix, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || time.Since(time.Unix(unix, 0)).Abs() > 5*time.Minute {
		return false
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(stamp + "\n"))
	for _, name := range signed {
		mac.Write([]byte(h.Get("Tandem-"+name) + "\n"))
	}
	mac.Write(body)
	got, err := hex.DecodeString(sum)
	return err == nil && hmac.Equal(got, mac.Sum(nil))
}
