package spelling

import (
	"net/url"
	"strings"
	"testing"
)

func TestWhatEachRuleTakes(t *testing.T) {
	address := func(rule func(string) (*url.URL, error)) func(string) error {
		return func(s string) error { _, err := rule(s); return err }
	}
	long := strings.Repeat("e", maxName)
	for _, c := range []struct {
		rule      string
		of        func(string) error
		good, bad []string
	}{
		{"Name", Name, []string{"a", "emea-1", "007", long}, []string{"", "-", "-a", "a-", "EMEA", "a.b", "a_b", "é", "a b", "a\n", long + "e"}},
		{"GUID", GUID, []string{"0efc74f7-41c3-47a4-8775-7259bfef4241"}, []string{"", "0EFC74F7-41C3-47A4-8775-7259BFEF4241", " 0efc74f7-41c3-47a4-8775-7259bfef4241", "0efc74f7-41c3-47a4-8775-7259bfef4241\n"}},
		{"Version", Version, []string{"1", "2.4.1", "2.4.1-rc.1+build_7", "v3", strings.Repeat("9", maxVersion)}, []string{"", ".1", "-", "2 4", "2.4\n", "é", "2/4", "{}", strings.Repeat("9", maxVersion+1)}},
		{"Path", Path, []string{"/a", "/api/calls", "/a~b/c.d/-_/..."}, []string{"", "/", "a", "//", "/a/", "/a//b", "/.", "/api/../calls", "/api/a~b;c", "/:id", "/*", "/a%20b", "/a b", "/é", "/a?b", "/" + strings.Repeat("a", maxText)}},
		{"Listen", Listen, []string{":0", "0.0.0.0:8443", "[::]:65535", "localhost:80"}, []string{"", "0.0.0.0", "a:", "a:http", "a:65536", "a:-1", "::1:80"}},
		{"Dialable", Dialable, []string{"10.0.0.1:8471", "emea-1:8471", "[::1]:1"}, []string{"", ":8471", "10.0.0.1:0", "10.0.0.1:00", "0.0.0.0:1", "[::]:1", "[::ffff:0.0.0.0]:1"}},
		{"URL", address(URL), []string{"https://a", "https://a/b?c=d", "http://127.0.0.1:1", "http://[::1]/", "http://LOCALHOST"}, []string{"", "a", "https:a", "https://", "https://:443", "ftp://a", "file:///a", "http://a", "http://x.localhost", "http://127.0.0.1.example", "https://u@a", "https://u:pw@a", "https://a#b", "https://a/%zz"}},
		{"BaseURL", address(BaseURL), []string{"https://a", "https://a/b/"}, []string{"https://a?", "https://a?b", "http://a"}},
	} {
		for _, s := range c.good {
			if err := c.of(s); err != nil {
				t.Errorf("%s refuses %q: it %v", c.rule, s, err)
			}
		}
		for _, s := range c.bad {
			if err := c.of(s); err == nil {
				t.Errorf("%s takes %q", c.rule, s)
			} else if strings.Contains(err.Error(), "pw") {
				t.Errorf("%s repeats a password: it %v", c.rule, err)
			}
		}
	}
}

func TestLoopbackIsWhatSurelyStaysHere(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost:80": true, "127.0.0.1": true, "127.9.9.9:1": true, "::1": true, "[::1]": true, "[::1]:80": true, "[::ffff:127.0.0.1]:80": true,
		"": false, ":80": false, "0.0.0.0:80": false, "[::]:80": false, "10.0.0.1": false, "x.localhost": false, "x.localhost:0": false, "localhost.": false,
		"localhost.example": false, "127.0.0.1.example": false, "2130706433": false,
	} {
		if got := Loopback(host); got != want {
			t.Errorf("%q is loopback: %v", host, got)
		}
	}
}
