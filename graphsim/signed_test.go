package graphsim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestD12_ForgedHandOvers: a bot with a secret takes nothing that was not signed
// with it, now, over these headers and this body, and the oracle hears nothing of it.
func TestD12_ForgedHandOvers(t *testing.T) {
	const secret = "a secret of the bot and its router"
	cloud, err := Start(t.Context(), Config{BotSecret: secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	bot := cloud.Bot("n1")
	const body = `{"value":[]}`
	mac := func(secret, text string) string {
		m := hmac.New(sha256.New, []byte(secret))
		m.Write([]byte(text))
		return hex.EncodeToString(m.Sum(nil))
	}
	const said = "1800000000\nupdate\nc1\na1\nt1\n7\n3\n\n\n" + body
	h := http.Header{"Tandem-Event": {"update"}, "Tandem-Call": {"c1"}, "Tandem-App": {"a1"}, "Tandem-Tenant": {"t1"}, "Tandem-Partition": {"7"}, "Tandem-Epoch": {"3"}}
	h.Set("Tandem-Signature", "t=1800000000,v1="+mac(secret, said))
	at := time.Unix(1800000000, 0)
	if !fromRouter(secret, h, []byte(body), at) {
		t.Error("a good signature was refused")
	}
	for name, refused := range map[string]bool{
		"another body": fromRouter(secret, h, []byte(`{}`), at),
		"old":          fromRouter(secret, h, []byte(body), at.Add(6*time.Minute)),
		"ahead":        fromRouter(secret, h, []byte(body), at.Add(-6*time.Minute)),
		"other secret": fromRouter("x", h, []byte(body), at),
		"no signature": fromRouter(secret, http.Header{}, []byte(body), at),
	} {
		if refused {
			t.Errorf("%s: it was taken", name)
		}
	}
	for _, name := range signedHeaders {
		changed := h.Clone()
		changed.Set(name, "forged")
		if fromRouter(secret, changed, []byte(body), at) {
			t.Errorf("a forged %s was taken", name)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, bot.URL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = h
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("an old hand-over was answered with %d", res.StatusCode)
	}
}
