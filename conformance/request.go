package conformance

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// signedHeaders stand in a hand-over's signature: after the time, before the body.
var signedHeaders = []string{"Tandem-Event", "Tandem-Call", "Tandem-App", "Tandem-Tenant", "Tandem-Partition", "Tandem-Epoch", "Tandem-Callback-Uri", "Tandem-Deadline"}

// request writes a step's request; ids are those of the rule's calls.
func (c cases) request(s step, ids map[string]string, t Target) request {
	if s.Health {
		return request{method: http.MethodGet, url: t.HealthURL, header: http.Header{}}
	}
	if ids[s.Call] == "" {
		ids[s.Call] = id()
	}
	call, epoch := ids[s.Call], max(1, s.Epoch)
	fill := strings.NewReplacer("{call}", call, "{event}", cmp.Or(s.Says, s.Event), "{pad}", strings.Repeat("x", s.Pad)).Replace
	var text bytes.Buffer
	if err := json.Compact(&text, c.Bodies[s.Body]); err != nil {
		panic(fmt.Sprintf("conformance: cases.json has no body %q: %v", s.Body, err)) // it is part of the program
	}
	r := request{method: http.MethodPost, url: t.URL, body: []byte(fill(text.String())), header: http.Header{}}
	h := r.header
	h.Set("Content-Type", "application/json")
	h.Set("X-Microsoft-Skype-Chain-ID", id())
	if !bytes.Contains(text.Bytes(), []byte(`"event":`)) { // Tandem's own events have none
		h.Set("X-Microsoft-Skype-Message-ID", id())
	}
	h.Set("Tandem-Event", s.Event)
	h.Set("Tandem-Call", call)
	h.Set("Tandem-App", "0efc74f7-41c3-47a4-8775-7259bfef4241")
	h.Set("Tandem-Tenant", "8986d25d-ed3f-4bb8-b739-14d2fcc37b09")
	h.Set("Tandem-Partition", "24")
	h.Set("Tandem-Epoch", strconv.Itoa(epoch))
	h.Set("Tandem-Callback-Uri", fmt.Sprintf("https://emea.bot.example.com/api/calls/emea/24/%d/%s?s=x", epoch, call))
	if s.Deadline > 0 {
		h.Set("Tandem-Deadline", time.Now().Add(time.Duration(s.Deadline)*time.Millisecond).UTC().Format(time.RFC3339Nano))
	}
	for name, value := range s.Headers {
		h.Set(name, fill(value))
	}
	if t.Secret != "" && s.Sign != "none" {
		sign(s.Sign, t.Secret, h, r.body)
	}
	return r
}

// sign puts the signature among the headers: a good one, one that is wrong, or one that is old.
func sign(how, secret string, h http.Header, body []byte) {
	unix := time.Now().Unix()
	switch how {
	case "wrong":
		secret += "!"
	case "old":
		unix -= 3600
	}
	h.Set("Tandem-Signature", signature(secret, unix, h, body))
}

func signature(secret string, unix int64, h http.Header, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%d\n", unix)
	for _, name := range signedHeaders {
		fmt.Fprintf(mac, "%s\n", h.Get(name))
	}
	mac.Write(body)
	return fmt.Sprintf("t=%d,v1=%s", unix, hex.EncodeToString(mac.Sum(nil)))
}

// id is a new call's or delivery's: 32 hex digits.
func id() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}
