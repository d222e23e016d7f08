package graphsim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// signedHeaders stand in a hand-over's signature, each on a line of its own: after
// the time, before the body.
var signedHeaders = []string{"Tandem-Event", "Tandem-Call", "Tandem-App", "Tandem-Tenant", "Tandem-Partition", "Tandem-Epoch", "Tandem-Callback-Uri", "Tandem-Deadline"}

// signatureLife is how old a signature may be: a bot that takes older ones would
// take a recorded hand-over again.
const signatureLife = 5 * time.Minute

// fromRouter reports whether a hand-over bears the signature of who knows the
// secret, as the contract of the bot's door has it.
func fromRouter(secret string, h http.Header, body []byte, now time.Time) bool {
	stamp, sum, _ := strings.Cut(strings.TrimPrefix(h.Get("Tandem-Signature"), "t="), ",v1=")
	unix, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || now.Sub(time.Unix(unix, 0)).Abs() > signatureLife {
		return false
	}
	text := stamp + "\n"
	for _, name := range signedHeaders {
		text += h.Get(name) + "\n"
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	mac.Write(body)
	got, err := hex.DecodeString(sum)
	return err == nil && hmac.Equal(got, mac.Sum(nil))
}
