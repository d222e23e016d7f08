package pass

import (
	"errors"
	"strings"
	"testing"
	"time"
)

var (
	now  = time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)
	keys = [][]byte{[]byte("key-one-0123456789abcdef01234567"), []byte("key-two-0123456789abcdef01234567")}
	good = Pass{Deployment: "contoso", From: "emea", Node: "emea-1", To: "amer", Operator: "alice", Method: "GET", Path: "/v1/calls", Expires: now.Add(Life)}
)

func TestAPassSaysWhoAsks(t *testing.T) {
	for i, key := range keys {
		p, err := Read(keys, Sign(key, good))
		if err != nil || p != good || p.Name() != "alice@emea" {
			t.Errorf("signed with key %d: %+v, %v", i, p, err)
		}
		if err := p.Check("contoso", "amer", "GET", "/v1/calls", now); err != nil {
			t.Errorf("signed with key %d: %v", i, err)
		}
	}
	good := good
	good.Operator = ""
	if good.Name() != "emea/emea-1" {
		t.Errorf("without an operator its name is %q", good.Name())
	}
}

func TestForgedPasses(t *testing.T) {
	one := Sign(keys[0], good)
	other := good
	other.Operator = "mallory"
	body, _, _ := strings.Cut(strings.TrimPrefix(Sign(keys[1], other), prefix), ".")
	_, signature, _ := strings.Cut(strings.TrimPrefix(one, prefix), ".")
	for name, secret := range map[string]string{
		"a stranger's key":      Sign([]byte("key-three"), good),
		"no key":                Sign(nil, good),
		"another body":          prefix + body + "." + signature,
		"no signature":          strings.TrimSuffix(one, signature),
		"half a signature":      one[:len(one)-20],
		"something behind":      one + ".x",
		"bits beyond the last":  one[:len(one)-1] + "_",
		"no prefix":             strings.TrimPrefix(one, prefix),
		"too long":              prefix + strings.Repeat("A", MaxLen) + "." + signature,
		"signed, and no object": prefix + "AAAA." + signature,
		"empty":                 "",
	} {
		if p, err := Read(keys, secret); !errors.Is(err, ErrForged) || p != (Pass{}) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	if _, err := Read(nil, one); !errors.Is(err, ErrForged) {
		t.Error("a door without keys took a pass")
	}
}

func TestAPassIsGoodForOneRequestAtOneRegionForAMinute(t *testing.T) {
	for name, c := range map[string]struct {
		deployment, region, method, path string
		at                               time.Time
		want                             string
	}{
		"another deployment":              {"fabrikam", "amer", "GET", "/v1/calls", now, "of deployment"},
		"another region":                  {"contoso", "apac", "GET", "/v1/calls", now, `leads to region "amer"`},
		"another method":                  {"contoso", "amer", "DELETE", "/v1/calls", now, "another request"},
		"another path":                    {"contoso", "amer", "GET", "/v1/snapshot", now, "another request"},
		"expired":                         {"contoso", "amer", "GET", "/v1/calls", now.Add(Life + Skew + 1), "has expired"},
		"from the future":                 {"contoso", "amer", "GET", "/v1/calls", now.Add(-Skew - 1), "not good yet"},
		"expired, as far as clocks allow": {"contoso", "amer", "GET", "/v1/calls", now.Add(Life + Skew), ""},
		"the clock here is late":          {"contoso", "amer", "GET", "/v1/calls", now.Add(-Skew), ""},
	} {
		err := good.Check(c.deployment, c.region, c.method, c.path, c.at)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(Sign(keys[0], good))
	f.Add(prefix + "e30.AAAA")
	f.Add(prefix + ".")
	f.Add("")
	f.Fuzz(func(t *testing.T, secret string) {
		p, err := Read(keys, secret)
		if err != nil {
			if p != (Pass{}) {
				t.Error("a forged pass says something")
			}
			return
		}
		if again, err := Read(keys, Sign(keys[0], p)); err != nil || !again.Expires.Equal(p.Expires) || again.Name() != p.Name() {
			t.Errorf("%+v is read again as %+v, %v", p, again, err)
		}
	})
}
