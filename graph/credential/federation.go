package credential

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	maxToken = 16 << 10 // bytes of another provider's token
	// forgiven at the end of another provider's token: our clock may be ahead.
	forgiven = 5 * time.Minute
)

// readToken reads the token of another provider as it stands in its file now. AKS renews
// it there.
func readToken(file string) (string, error) {
	token, err := readText(string(ByFederation)+".token_file", file, maxToken)
	if err != nil {
		return "", err
	}
	if _, ok := endOf(token); !ok {
		return "", fmt.Errorf("reading Graph's %s.token_file %s: it holds no JWT", ByFederation, file)
	}
	return token, nil
}

// overdue says that nobody renewed the token.
func overdue(file, token string, now time.Time) error {
	if end, _ := endOf(token); !end.IsZero() && now.After(end.Add(forgiven)) {
		return fmt.Errorf("reading Graph's %s.token_file %s: its token ended at %s, and whatever should renew it has not", ByFederation, file, end.UTC().Format(time.RFC3339))
	}
	return nil
}

// endOf reads a JWT's exp, unverified: who issued it is for the token endpoint to judge.
// Zero: it has none. false: it is no JWT.
func endOf(token string) (time.Time, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}, false
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}, false
	}
	var said struct {
		Exp json.Number `json:"exp"`
	}
	if json.Unmarshal(text, &said) != nil {
		return time.Time{}, false
	}
	exp, err := said.Exp.Float64()
	if err != nil || exp <= 0 || exp > 1<<40 {
		return time.Time{}, true
	}
	return time.Unix(int64(exp), 0), true
}

// Environment is what AKS's workload identity puts into a pod's environment.
type Environment struct {
	TokenURL, ClientID, TokenFile string
	Missing                       []string // names of variables that are not set
}

// ReadEnvironment reads AZURE_AUTHORITY_HOST, AZURE_TENANT_ID, AZURE_CLIENT_ID and
// AZURE_FEDERATED_TOKEN_FILE.
func ReadEnvironment(get func(string) string) (e Environment) {
	var tenant, authority string
	for name, to := range map[string]*string{
		"AZURE_TENANT_ID": &tenant, "AZURE_CLIENT_ID": &e.ClientID, "AZURE_FEDERATED_TOKEN_FILE": &e.TokenFile, "AZURE_AUTHORITY_HOST": &authority,
	} {
		if *to = get(name); *to == "" {
			e.Missing = append(e.Missing, name)
		}
	}
	slices.Sort(e.Missing)
	if tenant != "" && authority != "" {
		e.TokenURL = strings.TrimSuffix(authority, "/") + "/" + url.PathEscape(tenant) + "/oauth2/v2.0/token"
	}
	return e
}

// State is what of a credential has an end or an age.
type State struct {
	Kind    Kind
	Ends    time.Time // of the certificate, or of the other provider's token; zero: not known
	Written time.Time // the other provider's token; zero: not known
}

// Look reads what stands in the files now, whatever it is worth.
func (c Config) Look() (s State) {
	s.Kind, _ = c.Kind() // what is wrong with it is told elsewhere
	switch s.Kind {
	case ByCertificate:
		s.Ends = endOfCertificate(c.Certificate.CertFile)
	case ByFederation:
		if info, err := os.Stat(c.TokenFile); err == nil {
			s.Written = info.ModTime()
		}
		if token, err := readText("", c.TokenFile, maxToken); err == nil {
			s.Ends, _ = endOf(token)
		}
	}
	return s
}
