package token

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// locked is a writer for loggers of several goroutines.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestB110_NoSecretInAnyOutput puts canaries into tokens and answers of the
// endpoint, provokes every kind of refusal and failed fetch, and reads logs,
// metrics, errors, status and explanations.
func TestB110_NoSecretInAnyOutput(t *testing.T) {
	k, log, reg := newClock(), &locked{}, prometheus.NewRegistry()
	c := &cloud{keys: []obj{jwk("a", keyA()), jwk("weak", weakKey(), obj{"d": canary("private")})}}
	cfg := c.config()
	cfg.Now, cfg.Metrics = k.Now, reg
	cfg.Logger = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	v := ready(t, start(t, cfg, App{ID: ourApp, Profile: "public", Tenants: []string{ourTenant}}))

	var out strings.Builder
	secrets := []string{canary("private"), canary("claim"), canary("member"), canary("answer")}
	tell := func(h http.Header, raw string) {
		_, err := v.Verify(context.Background(), h)
		e := v.Explain(context.Background(), raw)
		data, _ := json.Marshal(e)
		fmt.Fprintln(&out, err, e.String(), string(data))
	}
	for _, tc := range append(append(headerCases(), shapeCases()...), append(keyIDCases(), timeCases()...)...) {
		b := bench{now: k.Now(), header: realHeader("a").with(obj{"x": canary("member")}),
			claims: realClaims(k.Now()).with(obj{"secret": canary("claim")}), stray: cloudURL + "/stray"}
		raw := tc.make(b)
		if i := strings.LastIndexByte(raw, '.'); i >= 0 && len(raw)-i > 20 {
			secrets = append(secrets, raw[i+1:])
		}
		if p := strings.Split(raw, "."); len(p) == 3 && len(p[1]) > 20 {
			secrets = append(secrets, p[0], p[1])
		}
		tell(http.Header{"Authorization": {"Bearer " + raw}}, raw)
		tell(http.Header{"Authorization": {"Basic " + canary("claim")}}, "Basic "+canary("claim"))
		tell(http.Header{"Authentication": {"Bearer " + raw}}, raw)
	}
	for _, answer := range []string{`{"keys":"` + canary("answer") + `"}`, canary("answer"), `{"keys":[{"kid":"` + canary("answer") + `"}]}`} {
		c.answers(answerAt(keysPath, says(200, answer)))
		again(t, v, k)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(&out, families, v.Status(), v.Ready(), log.String())
	if log.String() == "" {
		t.Error("nothing was logged, so nothing was tested")
	}
	for _, s := range secrets {
		if strings.Contains(out.String(), s) {
			t.Errorf("a secret of %d bytes is in the output", len(s))
		}
	}
}

// TestNoPasswordOfAURLInErrors keeps what a wrong configuration holds to itself.
func TestNoPasswordOfAURLInErrors(t *testing.T) {
	for _, u := range []string{"https://me:Pa55word@keys.example/", "https://me:Pa55word@/", "https://me:Pa55 word@keys.example/", "http://me:Pa55word@keys.example:x/"} {
		_, err := New(context.Background(), Config{Profiles: []Profile{{Name: "own", OpenIDURL: []string{u}, Issuers: []string{"i"}}}}, []App{{ID: ourApp, Profile: "own"}})
		if err == nil || strings.Contains(err.Error(), "Pa55") {
			t.Errorf("of %q New says %v", u, err)
		}
	}
}

// TestMetrics reads the numbers after a few verdicts and a failed fetch.
func TestMetrics(t *testing.T) {
	k, reg := newClock(), prometheus.NewRegistry()
	c := &cloud{keys: []obj{jwk("a", keyA()), jwk("enc", keyB(), obj{"use": "enc"})}}
	cfg := c.config()
	cfg.Now, cfg.Metrics = k.Now, reg
	v := ready(t, start(t, cfg))
	raw := goodToken(k.Now(), "a", keyA(), 0)
	want(t, v, raw, good)
	want(t, v, raw, good)
	want(t, v, "junk", CodeNotThreeParts)
	want(t, v, "a.b", CodeNotThreeParts)
	want(t, v, strings.Repeat("x", MaxTokenBytes+1), CodeTooLarge) // not even hashed
	c.answers(down)
	again(t, v, k)
	for name, value := range map[string]float64{
		`tandem_token_verdicts_total{profile="public",verdict="accepted"}`:                         3,
		`tandem_token_verdicts_total{profile="",verdict="not_three_parts"}`:                        2,
		`tandem_token_verdicts_total{profile="",verdict="too_large"}`:                              1,
		`tandem_token_cache_lookups_total{result="hit"}`:                                           1,
		`tandem_token_cache_lookups_total{result="miss"}`:                                          4,
		`tandem_token_jwks_fetches_total{result="ok",url="` + cloudURL + metaPath + `"}`:           1,
		`tandem_token_jwks_fetches_total{result="failed",url="` + cloudURL + metaPath + `"}`:       1,
		`tandem_token_keys{url="` + cloudURL + metaPath + `"}`:                                     1,
		`tandem_token_keys_ignored{reason="not_for_signatures",url="` + cloudURL + metaPath + `"}`: 1,
	} {
		if got := metric(t, reg, name); got != value {
			t.Errorf("%s is %v, wanted %v", name, got, value)
		}
	}
	c.answers(nil)
	c.publish(jwk("a", keyA()))
	again(t, v, k)
	if got := metric(t, reg, `tandem_token_keys_ignored{reason="not_for_signatures",url="`+cloudURL+metaPath+`"}`); got > 0 {
		t.Errorf("%v keys count as ignored that are no longer offered", got)
	}
	second, err := New(context.Background(), cfg, []App{{ID: ourApp, Profile: "public"}})
	if err != nil {
		t.Fatalf("a second Verifier on one registry: %v", err)
	}
	_ = second.Close()
}

// metric reads one number by its name and labels in order.
func metric(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			if f.GetName()+"{"+strings.Join(labels, ",")+"}" == name {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return -1
}

// TestMetricsClash reports a name that is taken by something else.
func TestMetricsClash(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "tandem_token_keys", Help: "something else"}))
	if _, err := New(context.Background(), Config{Metrics: reg}, nil); err == nil {
		t.Error("New takes a registry where a name is taken")
	}
}
