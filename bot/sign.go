package bot

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// headerSignature proves to the bot that a hand-over comes from its router: any
// program of the machine could POST to the bot's port. Its value is t=UNIX,v1=HEX,
// HEX being the HMAC-SHA-256 of the lines of toSign.
const headerSignature = "Tandem-Signature"

// signedHeaders stand in the signature, in this order.
var signedHeaders = []string{headerEvent, headerCall, headerApp, headerTenant, headerPartition, headerEpoch, headerCallbackURI, headerDeadline}

// Length of a secret in bytes: a shorter one can be guessed, a longer one is
// another file.
const minSecret, maxSecret = 16, 4096

// ReadSecret reads a bot's secret; blanks around it do not count. A file that
// everybody on the machine may use is refused: it would prove nothing.
func ReadSecret(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", fmt.Errorf("reading bot.secret_file: %w", err)
	}
	if info.Size() > maxSecret {
		return "", fmt.Errorf("reading bot.secret_file: %s is larger than %d bytes", file, maxSecret)
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 && os.PathSeparator == '/' {
		return "", fmt.Errorf("reading bot.secret_file: everybody on this machine may use %s (mode %04o); chmod 0640 it, with the bot's group", file, mode)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading bot.secret_file: %w", err)
	}
	secret := strings.TrimSpace(string(text))
	return secret, CheckSecret(secret)
}

// CheckSecret refuses a secret that can be guessed.
func CheckSecret(secret string) error {
	if len(secret) < minSecret {
		return errors.New("the bot's secret is shorter than 16 bytes: make one with 'openssl rand -hex 32'")
	}
	return nil
}

// sign puts the signature over body and headers among the headers.
func sign(secret string, at time.Time, h http.Header, body []byte) {
	unix := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(unix + "\n"))
	for _, name := range signedHeaders {
		mac.Write([]byte(h.Get(name) + "\n"))
	}
	mac.Write(body)
	h.Set(headerSignature, "t="+unix+",v1="+hex.EncodeToString(mac.Sum(nil)))
}
