package federation

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/ownership"
)

const fullSummary = `{"region":"amer","nodes":2,"live":4,"capacity":150,"table_version":77,"healthy":true,
	"apps":[{"id":"app-1","room":9,"healthy":true},{"id":"app-2","room":0,"healthy":false}],
	"nodes_list":[{"id":"amer-1","state":"active","cluster":"10.1.0.1:8471","zone":"a"},{"id":"amer-2","state":"silent","cluster":"10.1.0.2:8471"}],
	"partitions":{"amer-1":[[1,1],[3,4]],"amer-2":[[2,1]],"amer-9":[[5,1]]},"rules":{"number":3,"digest":"abc"}}`

// TestNodesAndOwners of another region are answered from memory.
func TestNodesAndOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &distant{answer: says(200, fullSummary)}
		w := world(t, d)
		if all := w.Nodes("amer"); len(all) != 2 || all[0].Cluster != "10.1.0.1:8471" || all[1].State != "silent" {
			t.Errorf("its nodes are %+v", all)
		}
		for p, want := range map[ownership.PartitionID]ownership.NodeID{1: "amer-1", 2: "amer-2", 3: "amer-1", 4: "", 5: ""} {
			if n, ok := w.Owner("amer", p); n.ID != want || ok != (want != "") {
				t.Errorf("partition %d is %+v's, %v", p, n, ok)
			}
		}
		d.now(summary(1, true)) // of older software
		after(time.Second)
		if _, known := w.Owner("amer", 1); known || w.Nodes("amer") != nil || w.Nodes("mars") != nil {
			t.Error("what an older region does not tell is known")
		}
	})
}

// asking sends one request to amer and reads the whole answer.
func asking(ctx context.Context, w *Regions) (int, string, error) {
	resp, err := w.Get(ctx, "amer", "/v1/calls?limit=3")
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// TestGetAsksTheNextDoor where one does not answer, hangs, or may not.
func TestGetAsksTheNextDoor(t *testing.T) {
	for name, one := range map[string]func(*http.Request) (*http.Response, error){
		"refuses": refuses, "hangs": hangs, "knows no pass": says(401, "who?"), "is of another region": says(421, ""), "is crowded": says(503, ""),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDoors()
				d.set("a.example", tells(2))
				d.set("b.example", tells(1))
				w := doorsWorld(t, d, "https://a.example", "https://b.example")
				var got *http.Request
				d.set("a.example", one)
				d.set("b.example", func(r *http.Request) (*http.Response, error) {
					if r.URL.Path == "/v1/calls" { // and not a look at the same time
						got = r
					}
					return says(404, "no such call")(r)
				})
				status, text, err := asking(ownership.By(t.Context(), "alice"), w)
				if err != nil || status != 404 || text != "no such call" {
					t.Fatalf("%d %q, %v", status, text, err)
				}
				if got.Header.Get(Forwarded) != "emea" || got.URL.String() != "https://b.example/v1/calls?limit=3" {
					t.Errorf("it was asked for %s with %v", got.URL, got.Header)
				}
			})
		})
	}
}

// TestGetShowsAPass in the operator's name, unless a token is configured.
func TestGetShowsAPass(t *testing.T) {
	for _, token := range []string{"", "canary-token"} {
		synctest.Test(t, func(t *testing.T) {
			var got string
			d := &distant{answer: func(r *http.Request) (*http.Response, error) {
				got = r.Header.Get("Authorization")
				return says(200, fullSummary)(r)
			}}
			w := world(t, d, func(c *Config) {
				c.Regions[0].Token = token
				c.Pass = func(to ownership.Region, operator, method, path string) string {
					return strings.Join([]string{string(to), operator, method, path}, " ")
				}
			})
			want := map[bool][2]string{true: {"Bearer amer  GET /v1/summary", "Bearer amer alice GET /v1/calls"}, false: {"Bearer canary-token", "Bearer canary-token"}}[token == ""]
			if got != want[0] {
				t.Errorf("the summary was asked for with %q", got)
			}
			d.now(says(401, ""))
			after(time.Second)
			if hint := strings.Contains(w.Regions()[0].Error, "handle_keys_file"); hint != (token == "") {
				t.Errorf("with token %q a refusal is told as %q", token, w.Regions()[0].Error)
			}
			d.now(func(r *http.Request) (*http.Response, error) {
				got = r.Header.Get("Authorization")
				return says(200, fullSummary)(r)
			})
			if _, _, err := asking(ownership.By(t.Context(), "alice"), w); err != nil || got != want[1] {
				t.Errorf("calls were asked for with %q, %v", got, err)
			}
		})
	}
}

// TestGetIsBounded in time and size, and says who cannot be asked.
func TestGetIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &distant{answer: says(200, fullSummary)}
		w := world(t, d)
		d.now(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(io.LimitReader(endless{}, 1<<40)), Request: r}, nil
		})
		if _, text, err := asking(t.Context(), w); !errors.Is(err, errTooLong) || len(text) != getSize {
			t.Errorf("an endless answer: %d bytes, %v", len(text), err)
		}
		d.now(hangs)
		before := time.Now()
		if _, _, err := asking(t.Context(), w); !errors.Is(err, ownership.ErrUnreachable) || time.Since(before) > getTime {
			t.Errorf("after %s: %v", time.Since(before), err)
		}
		if _, err := w.Get(t.Context(), "mars", "/v1/nodes"); !errors.Is(err, ownership.ErrUnknown) {
			t.Errorf("an unknown region: %v", err)
		}
		d.now(says(401, "who?"))
		if status, text, err := asking(t.Context(), w); status != 401 || text != "who?" || err != nil {
			t.Errorf("the only door's refusal is told as %d %q, %v", status, text, err)
		}
	})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
