package graphsim

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestTheCloudServesTLS: between machines Tandem takes no plain http, so all
// endpoints and the bots' doors are https, the linked ones included.
func TestTheCloudServesTLS(t *testing.T) {
	lender := httptest.NewUnstartedServer(nil) // has a certificate for 127.0.0.1
	lender.StartTLS()
	t.Cleanup(lender.Close)
	roots := x509.NewCertPool()
	roots.AddCert(lender.Certificate())
	cloud, _ := start(t, Config{ServeTLS: &tls.Config{Certificates: lender.TLS.Certificates}})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}, Timeout: 10 * time.Second}
	t.Cleanup(client.CloseIdleConnections)
	for _, url := range []string{cloud.OpenIDURL(), cloud.TokenURL(), cloud.GraphURL(), cloud.Bot("emea-1").URL, cloud.Bot("emea-1").HealthURL} {
		if !strings.HasPrefix(url, "https://") {
			t.Errorf("%s is not https", url)
		}
	}
	if keys := published(t, cloud, client); len(keys) == 0 {
		t.Error("no keys are published")
	}
	if status, _, _ := fetch(t, client, http.MethodGet, cloud.Bot("emea-1").HealthURL, "", ""); status != http.StatusOK {
		t.Errorf("the bot's health answers %d", status)
	}
}
