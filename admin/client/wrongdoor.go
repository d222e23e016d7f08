package client

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// where says how an admin door is found.
const where = "the admin door is at http://127.0.0.1:8470 on the node's machine unless admin.listen says otherwise"

// unreached tells why there was no answer, and what to do where the address is the
// reason and waiting would not help.
func unreached(host string, err error) *Problem {
	p := &Problem{Detail: fmt.Sprintf("reaching the admin door at %s: %v", host, err), Err: err}
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	// net/http has no error of its own for it (net/http/transport.go).
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"), errors.As(err, new(tls.RecordHeaderError)):
		p.Detail, p.Stranger = fmt.Sprintf("%s speaks plain http, and was asked with https: write http://%s", host, host), true
	case errors.As(err, &unknown):
		p.Detail, p.Stranger = fmt.Sprintf("the certificate of %s is of an authority that is not trusted here: name the authority's file with --cacert or TANDEM_CACERT", host), true
	case errors.As(err, &name):
		p.Detail, p.Stranger = fmt.Sprintf("the certificate of %s is for other names (%v): ask it by one of them", host, name), true
	case strings.Contains(err.Error(), "tls: no application protocol"), strings.Contains(err.Error(), "tls: certificate required"):
		p.Detail, p.Stranger = fmt.Sprintf("%s wants the certificate of a node: it looks like a cluster port; %s", host, where), true
	}
	return p
}

// stranger says that whoever answered is no admin door: a door's refusals are problems
// of RFC 9457, and all else that it says is JSON. A balancer that finds no node behind
// it speaks for the door, and is none. begin: of the body, where it was read.
func stranger(res *http.Response, begin []byte) *Problem {
	kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	refused := res.StatusCode >= http.StatusMultipleChoices
	switch {
	case !refused && kind == "application/json", refused && (kind == "application/problem+json" || res.StatusCode < http.StatusBadRequest):
		return nil
	case res.StatusCode == http.StatusBadGateway, res.StatusCode == http.StatusServiceUnavailable, res.StatusCode == http.StatusGatewayTimeout:
		return nil
	}
	host := res.Request.URL.Host
	p := &Problem{Status: res.StatusCode, Title: http.StatusText(res.StatusCode), Stranger: true}
	var public struct {
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	switch {
	case bytes.Contains(begin, []byte("HTTP request to an HTTPS server")): // net/http/server.go
		p.Detail = fmt.Sprintf("%s speaks https, and was asked with plain http: write https://%s", host, host)
	case json.Unmarshal(begin, &public) == nil && public.Error.Code != "":
		p.Detail = fmt.Sprintf("%s is the public door of a node, where the cloud posts its notifications: %s", host, where)
	default:
		p.Detail = fmt.Sprintf("whoever answers at %s is no admin door of Tandem (%d %s): %s", host, res.StatusCode, p.Title, where)
	}
	return p
}

// unwrapURL takes the method and URL off a client error: the sentence around it
// names the place already.
func unwrapURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
