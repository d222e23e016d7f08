package token

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// headerCase is one way of presenting a good token (%T), or another one (%O).
type headerCase struct {
	name   string
	header http.Header
	want   Code
}

func TestHeader(t *testing.T) {
	judgeHeaders(t, []headerCase{
		{"B01 no header at all", nil, CodeNoToken},
		{"B01 other headers only", http.Header{"Accept": {"*/*"}}, CodeNoToken},
		{"B01 Authorization empty", http.Header{"Authorization": {""}}, CodeNotBearer},
		{"B02 Authentication instead of Authorization", http.Header{"Authentication": {"Bearer %T"}}, CodeHeaderTypo},
		{"B03 both headers, only Authorization counts: good", http.Header{"Authorization": {"Bearer %T"}, "Authentication": {"Bearer %O"}}, good},
		{"B03 both headers, only Authorization counts: bad", http.Header{"Authorization": {"Bearer %O"}, "Authentication": {"Bearer %T"}}, CodeExpired},
		{"B04 two Authorization headers", http.Header{"Authorization": {"Bearer %T", "Bearer %T"}}, CodeSeveralHeaders},
		{"B05 Basic", http.Header{"Authorization": {"Basic dXNlcjpwYXNz"}}, CodeNotBearer},
		{"B05 token without a scheme", http.Header{"Authorization": {"%T"}}, CodeNotBearer},
		{"B05 scheme that begins with Bearer", http.Header{"Authorization": {"BearerX %T"}}, CodeNotBearer},
		{"B06 Bearer alone", http.Header{"Authorization": {"Bearer"}}, CodeNotBearer},
		{"B06 Bearer and a space", http.Header{"Authorization": {"Bearer "}}, CodeNotBearer},
		{"B07 lower-case bearer", http.Header{"Authorization": {"bearer %T"}}, good},
		{"B07 upper-case BEARER", http.Header{"Authorization": {"BEARER %T"}}, good},
		{"B08 two spaces", http.Header{"Authorization": {"Bearer  %T"}}, good},
		{"B09 tab", http.Header{"Authorization": {"Bearer\t%T"}}, CodeNotBearer},
		{"B09 space and tab", http.Header{"Authorization": {"Bearer \t%T"}}, CodeBadCredentials},
		{"B10 trailing junk", http.Header{"Authorization": {"Bearer %T junk"}}, CodeBadCredentials},
		{"B10 trailing space", http.Header{"Authorization": {"Bearer %T "}}, CodeBadCredentials},
		{"B10 two tokens with a comma", http.Header{"Authorization": {"Bearer %T,Bearer %T"}}, CodeBadCredentials},
		{"B10 quotes", http.Header{"Authorization": {`Bearer "%T"`}}, CodeBadCredentials},
	})
}

func judgeHeaders(t *testing.T, cases []headerCase) {
	b, v, _ := verdictBench(t)
	fresh, stale := b.sign(nil, nil), at("exp", -1e9*3600)(b)
	fillIn := strings.NewReplacer("%T", fresh, "%O", stale)
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			h := http.Header{}
			for name, values := range tc.header {
				for _, value := range values {
					h[name] = append(h[name], fillIn.Replace(value))
				}
			}
			_, err := v.Verify(context.Background(), h)
			if got := codeOf(t, err); got != tc.want {
				t.Errorf("the verdict is %q, wanted %q", got, tc.want)
			}
		})
	}
}

// TestB02_TypoHint reads the hint that the log gets.
func TestB02_TypoHint(t *testing.T) {
	_, v, _ := verdictBench(t)
	_, err := v.Verify(context.Background(), http.Header{"Authentication": {"Bearer x"}})
	if err == nil || !strings.Contains(err.Error(), "the header is Authorization") {
		t.Errorf("the refusal says %v, wanted the name of the right header", err)
	}
}

// TestB11_B12_TokenElsewhere sends tokens over a real connection where nobody
// looks: in the query, in a form, in a cookie, in a trailer.
func TestB11_B12_TokenElsewhere(t *testing.T) {
	b, v, _ := verdictBench(t)
	token := b.sign(nil, nil)
	codes := make(chan Code, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = r.Body.Read(make([]byte, 1024)) // trailers arrive after the body
		_, err := v.Verify(r.Context(), r.Header)
		codes <- codeOf(t, err)
	}))
	defer server.Close()
	for name, change := range map[string]func(*http.Request){
		"B11 query":   func(r *http.Request) { r.URL.RawQuery = "access_token=" + token },
		"B11 cookie":  func(r *http.Request) { r.Header.Set("Cookie", "access_token="+token) },
		"B12 trailer": func(r *http.Request) { r.Trailer = http.Header{"Authorization": {"Bearer " + token}} },
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequest(http.MethodPost, server.URL, strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			r.ContentLength = -1 // chunked, so that there may be trailers
			change(r)
			resp, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if got := <-codes; got != CodeNoToken {
				t.Errorf("the verdict is %q, wanted %q", got, CodeNoToken)
			}
		})
	}
}

// TestB52_B53_SameTokenAgain replays a token: on the same node, and on another
// one as after a 302. Bearer tokens are not bound to either.
func TestB52_B53_SameTokenAgain(t *testing.T) {
	b, first, _ := verdictBench(t)
	_, second, _ := verdictBench(t)
	token := b.sign(nil, nil)
	for range 3 {
		want(t, first, token, good)
	}
	want(t, second, token, good)
}

// TestStatus pins the status of every code, and that every code has a text.
func TestStatus(t *testing.T) {
	other := map[Code]int{CodeTenantNotAllowed: 403, CodeCallerNotAllowed: 403, CodeKeysNotLoaded: 503, CodeKeysTooOld: 503, CodeKeysInDoubt: 503, CodeNoTurn: 503}
	for code, reason := range reasons {
		r, status := refuse(code, "public"), 401
		if s, ok := other[code]; ok {
			status = s
		}
		if r.Status != status || r.Reason != reason || reason == "" {
			t.Errorf("%s is refused with %d %q, wanted %d and a reason", code, r.Status, r.Reason, status)
		}
	}
}
