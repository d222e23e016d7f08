package admin

import (
	"cmp"
	"encoding/json"
	"strings"
	"testing"

	"tandem/admin/api"
)

// TestAWrongRequestIsToldInASentence: what to write instead, 400 for path and query,
// and nothing in the words of a parser or a library.
func TestAWrongRequestIsToldInASentence(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	for _, c := range []struct {
		method, path, body string
		status             int
		says               string
		role               api.Role // none: operate
	}{
		{"GET", "/v1/calls?partition=abc", "", 400, `partition is "abc": write a whole number.`, ""},
		{"GET", "/v1/calls?limit=-1", "", 400, "limit is -1: write 1 or more.", ""},
		{"GET", "/v1/calls?limit=1001", "", 400, "limit is 1001: write 1000 or less.", ""},
		{"GET", "/v1/calls?state=lost", "", 400, `state is "lost": write one of claimed, answered, orphaned, ended.`, ""},
		{"GET", "/v1/partitions/abc", "", 400, `id is "abc": write a whole number.`, ""},
		{"GET", "/v1/events?follow=perhaps", "", 400, `follow is "perhaps": write true or false.`, ""},
		{"GET", "/v1/nodes?frob=1", "", 400, `There is no parameter "frob" here; /v1/docs lists those that there are.`, ""},
		{"POST", "/v1/nodes", `{"address":"notaddress"}`, 422, `address is "notaddress": write host:port, as in 10.0.0.2:8471.`, api.RoleJoin},
		{"PUT", "/v1/nodes/emea-1/drain", `{"until":"abc"}`, 422, `until is "abc": write a time as in 2006-01-02T15:04:05Z.`, ""},
		{"POST", "/v1/partitions/1/move", `{}`, 422, "to is missing.", ""},
		{"GET", "/v1/regions/emea/evacuation?to=mars", "", 404, `There is no region "mars".`, ""},
	} {
		a := r.ask(c.method, c.path, c.body, as(cmp.Or(c.role, api.RoleOperate)))
		var told struct {
			Detail string `json:"detail"`
		}
		if err := json.Unmarshal([]byte(a.text), &told); err != nil || a.StatusCode != c.status || !strings.Contains(told.Detail, c.says) {
			t.Errorf("%s %s: %d %q, want %d %q", c.method, c.path, a.StatusCode, told.Detail, c.status, c.says)
		}
	}
}

// TestThePagesSayItToo: the console's own inputs are answered as the API's are.
func TestThePagesSayItToo(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	a := r.ask("GET", "/console/calls?partition=x", "")
	if a.StatusCode != 400 || !strings.Contains(a.text, "write a whole number") || strings.Contains(a.text, "strconv") {
		t.Errorf("got %s", a.text)
	}
}
