package transport

import (
	"crypto/x509"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestMadeCertificatesArePrivateAndNeverOverwritten(t *testing.T) {
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca")
	caCert, caKey, err := MakeCA(ca, "contoso", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := MakeCert(dir, ca, "contoso", "emea", "emea-1", []string{"10.0.0.1", "emea-1.example"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{caKey, key} {
		if st, err := os.Stat(f); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("B111: %s has mode %v, %v, want 0600", f, st.Mode(), err)
		}
	}
	c, err := Load(Files{cert, key, caCert}, Identity{"contoso", "emea", "emea-1"})
	if err != nil {
		t.Fatal(err)
	}
	leaf := c.now.Load().cert.Leaf
	if len(leaf.DNSNames) != 1 || len(leaf.IPAddresses) != 1 || leaf.URIs[0].String() != "tandem://contoso/emea/emea-1" {
		t.Errorf("the certificate names %v %v %v", leaf.DNSNames, leaf.IPAddresses, leaf.URIs)
	}
	if _, err := Load(Files{cert, key, caCert}, Identity{"contoso", "emea", "emea-2"}); err == nil {
		t.Error("a node took another node's certificate for its own")
	}
	if _, err := Load(Files{cert, key, key}, Identity{"contoso", "emea", "emea-1"}); err == nil {
		t.Error("a key was taken for a CA")
	}
	if _, _, err := MakeCA(ca, "contoso", time.Hour); err == nil {
		t.Error("a CA was overwritten")
	}
	if _, _, err := MakeCert(dir, ca, "contoso", "emea", "emea-1", nil, time.Minute); err == nil {
		t.Error("a certificate was overwritten")
	}
	for name, f := range map[string]func() error{
		"outlives its CA": func() error { _, _, err := MakeCert(dir, ca, "contoso", "emea", "n2", nil, 2*time.Hour); return err },
		"no lifetime":     func() error { _, _, err := MakeCert(dir, ca, "contoso", "emea", "n3", nil, 0); return err },
		"path in a name":  func() error { _, _, err := MakeCert(dir, ca, "contoso", "emea", "../n4", nil, time.Minute); return err },
		"empty region":    func() error { _, _, err := MakeCert(dir, ca, "contoso", "", "n5", nil, time.Minute); return err },
		"no node's name": func() error {
			_, _, err := MakeCert(dir, ca, "contoso", "emea", "EMEA-1", nil, time.Minute)
			return err
		},
		"no CA":           func() error { _, _, err := MakeCert(dir, dir, "contoso", "emea", "n6", nil, time.Minute); return err },
		"CA without name": func() error { _, _, err := MakeCA(filepath.Join(dir, "x"), "", time.Hour); return err },
	} {
		if err := f(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestIdentityOf(t *testing.T) {
	for _, tc := range []struct {
		uris []string
		ok   bool
	}{
		{[]string{"tandem://contoso/emea/n1"}, true},
		{[]string{"spiffe://x/y", "tandem://contoso/emea/n1"}, true},
		{nil, false},
		{[]string{"spiffe://x/y"}, false},
		{[]string{"tandem://contoso/emea"}, false},
		{[]string{"tandem://contoso/emea/"}, false},
		{[]string{"tandem://contoso/emea/n1/more"}, false},
		{[]string{"tandem:///emea/n1"}, false},
		{[]string{"tandem://user@contoso/emea/n1"}, false},
		{[]string{"tandem://contoso/emea/n1?x=1"}, false},
		{[]string{"tandem://contoso/emea/n1", "tandem://contoso/emea/n2"}, false},
	} {
		cert := &x509.Certificate{}
		for _, s := range tc.uris {
			u, err := url.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			cert.URIs = append(cert.URIs, u)
		}
		id, err := identityOf(cert)
		if (err == nil) != tc.ok || tc.ok && id != (Identity{"contoso", "emea", "n1"}) {
			t.Errorf("%v gave %+v, %v", tc.uris, id, err)
		}
	}
}
