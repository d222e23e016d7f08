package webhook

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// rawRequest is a good request but for what the test changes.
func rawRequest(t testing.TB, line string, headers, body string) string {
	t.Helper()
	if line == "" {
		line = "POST " + hookPath + " HTTP/1.1"
	}
	return line + "\r\n" + headers + "Authorization: Bearer " + mint(t, ourApp, ourTenant) + "\r\nConnection: close\r\n\r\n" + body
}

const good = "Host: bot.example\r\nContent-Type: application/json\r\n"

// TestBadHTTP sends bytes that no HTTP library would, to the real server.
func TestBadHTTP(t *testing.T) {
	nd := oneNode(t, setup{})
	body := legacyBody
	length := fmt.Sprintf("Content-Length: %d\r\n", len(body))
	chunk := func(b string) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(b), b) }
	chunked := "Transfer-Encoding: chunked\r\n"
	for _, c := range []struct {
		name    string
		line    string
		headers string
		body    string
		want    []int
	}{
		{"sound", "", good + length, body, []int{204}},
		{"sound, in chunks", "", good + chunked, chunk(body), []int{204}},
		// Go reads it as chunked, and the length is void: put no proxy in front
		// that prefers Content-Length.
		{"B54 length and chunks", "", good + "Content-Length: 5\r\n" + chunked, chunk(body), []int{204}},
		{"B55 two lengths", "", good + length + "Content-Length: 5\r\n", body, []int{400}},
		{"B56 unknown transfer encoding", "", good + "Transfer-Encoding: gzip\r\n", chunk(body), []int{501}},
		{"B56 transfer encoding twice", "", good + chunked + chunked, chunk(body), []int{501}},
		{"B57 blank before the colon", "", good + "Transfer-Encoding : chunked\r\n", chunk(body), []int{400}},
		{"B58 no Host", "", "Content-Type: application/json\r\n" + length, body, []int{400}},
		{"B58 two Hosts", "", good + "Host: other.example\r\n" + length, body, []int{400}},
		{"B59 negative length", "", good + "Content-Length: -1\r\n", body, []int{400}},
		{"B59 length with a sign", "", good + "Content-Length: +5\r\n", body, []int{400}},
		{"B59 huge length", "", good + "Content-Length: 99999999999999999999\r\n", body, []int{400}},
		{"B60 bare LF behind a chunk's size", "", good + chunked, fmt.Sprintf("%x\n%s\r\n0\r\n\r\n", len(body), body), []int{400}},
		{"B60 bad chunk size", "", good + chunked, "zz\r\n" + body + "\r\n0\r\n\r\n", []int{400}},
		{"B60 64 KiB of chunk extension", "", good + chunked, fmt.Sprintf("%x;%s\r\n%s\r\n0\r\n\r\n", len(body), strings.Repeat("x", 64<<10), body), []int{400}},
		{"B60 chunks without an end", "", good + chunked, fmt.Sprintf("%x\r\n%s\r\n", len(body), body), []int{400}},
		{"B61 NUL in a header", "", good + "X-A: a\x00b\r\n" + length, body, []int{400}},
		{"B62 1 MB of header", "", good + "X-A: " + strings.Repeat("a", 1<<20) + "\r\n" + length, body, []int{431}},
		{"B62 10000 header lines", "", good + strings.Repeat("X-A: a\r\n", 10000) + length, body, []int{431}},
		{"B63 HTTP/0.9", "POST " + hookPath, good + length, body, []int{400}},
		{"B63 HTTP/3.9", "POST " + hookPath + " HTTP/3.9", good + length, body, []int{505}},
		{"B63 a method that is none", "P@ST! (" + " " + hookPath + " HTTP/1.1", good + length, body, []int{400}},
		{"B63 a method that nobody knows", "FROB " + hookPath + " HTTP/1.1", good + length, body, []int{405}},
		{"B63 unknown expectation", "", good + "Expect: wonders\r\n" + length, body, []int{417}},
		{"B64 folded header", "", good + "X-A: a\r\n b\r\n" + length, body, []int{204}},
		{"B66 length past the limit", "", good + "Content-Length: 1048577\r\n", body, []int{413}},
		{"B66 chunks past the limit", "", good + chunked, chunk(strings.Repeat(" ", 1<<20) + body), []int{413}},
		{"B66 length that promises more", "", good + "Content-Length: 9999\r\n", body, []int{400}},
		{"B66 length that promises less", "", good + "Content-Length: 5\r\n", body, []int{400}},
		{"B69 CONNECT", "CONNECT bot.example:443 HTTP/1.1", good, "", []int{404}},
		{"B69 OPTIONS *", "OPTIONS * HTTP/1.1", good, "", []int{404}},
		{"B71 h2c upgrade", "", good + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n" + length, body, []int{204}},
		{"B71 h2c by prior knowledge", "PRI * HTTP/2.0", "", "", []int{404}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := rawRequest(t, c.line, c.headers, c.body)
			if strings.HasPrefix(c.line, "PRI") {
				text = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
			}
			out := nd.raw(t, text)
			got := statuses(t, out)
			if len(got) > 1 && got[len(got)-1] == 400 { // what is left of the body is no request
				got = got[:len(got)-1]
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("got %v, want %v: %.300q", got, c.want, out)
			}
			// The bytes that did arrive must not be taken for the body.
			if cut := strings.HasPrefix(c.name, "B60") || strings.HasSuffix(c.name, "promises more"); cut && !strings.Contains(out, "unreadable_body") {
				t.Errorf("not refused for how it ended: %.300q", out)
			}
			if strings.Contains(out, "Location:") {
				t.Errorf("a Location: %.300q", out)
			}
		})
	}
	nd.in.untouched(t)
}

// TestContentTypes is B67 and B68.
func TestContentTypes(t *testing.T) {
	nd := oneNode(t, setup{})
	to := nd.url + hookPath
	for _, c := range []struct {
		name  string
		types []string
		want  int
	}{
		{"plain", []string{"application/json"}, 204},
		{"utf-8", []string{"application/json; charset=utf-8"}, 204},
		{"UTF-8, quoted", []string{`application/json;charset="UTF-8"`}, 204},
		{"drifting case", []string{"Application/JSON"}, 204},
		{"B68 missing", nil, 415},
		{"B68 empty", []string{""}, 415},
		{"B68 text", []string{"text/plain"}, 415},
		{"B68 xml", []string{"application/xml"}, 415},
		{"B68 multipart", []string{"multipart/form-data; boundary=x"}, 415},
		{"B68 utf-16", []string{"application/json; charset=utf-16"}, 415},
		{"B68 two of them", []string{"application/json", "text/plain"}, 415},
		{"B68 no media type", []string{"json"}, 415},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := post(t, to, legacyBody, header("Content-Type", c.types...))
			if a.status != c.want {
				t.Errorf("%d %s", a.status, a.body)
			}
			if a.status == 415 && a.code(t) != "unsupported_media_type" {
				t.Error(a.body)
			}
		})
	}
	t.Run("B67 gzip is never inflated", func(t *testing.T) {
		for _, enc := range []string{"gzip", "deflate", "br", "identity"} {
			if a := post(t, to, legacyBody, header("Content-Encoding", enc)); a.status != 415 || a.code(t) != "unsupported_content_encoding" {
				t.Errorf("%s: %+v", enc, a)
			}
		}
	})
}

// TestMethods is B69: nothing but POST, and a GET tells what went wrong.
func TestMethods(t *testing.T) {
	nd := oneNode(t, setup{})
	for _, to := range []string{nd.url + hookPath, nd.uri(1, 1, "c1")} {
		for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "PATCH", "TRACE", "OPTIONS"} {
			t.Run("B69 "+method, func(t *testing.T) {
				r, err := http.NewRequest(method, to, nil)
				if err != nil {
					t.Fatal(err)
				}
				a := send(t, r)
				if a.status != 405 || a.header.Get("Allow") != "POST" {
					t.Errorf("%d, Allow %q", a.status, a.header.Get("Allow"))
				}
				if method == "GET" && (a.code(t) != "redirect_followed_as_get" || !strings.Contains(a.body, "followed the redirect (302) as a GET")) {
					t.Error(a.body)
				}
			})
		}
	}
	if n := nd.counter(t, "tandem_webhook_get_after_redirect_total", ""); n != 4 {
		t.Errorf("%v GETs counted of 4", n)
	}
}
