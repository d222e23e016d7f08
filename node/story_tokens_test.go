package node

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"tandem/admin"
	"tandem/admin/api"
	"tandem/admin/client"
)

// TestB101_TokensOfTheRegion: a token that is made at one door opens those of
// all nodes, outlives a restart, and is closed everywhere when it is revoked. A
// token for one use brings in one node.
func TestB101_TokensOfTheRegion(t *testing.T) {
	t.Parallel()
	s := deploy(t, plan{nodes: 2, shape: func(x *seat, c *Config) {
		file := x.s.path("first.yaml")
		must(x.s.t, os.WriteFile(file, []byte("tokens: [{name: first, roles: [operate, join], sha256: "+admin.HashToken("the-first")+"}]\n"), 0o600))
		c.Admin.TokensFile = file
		if strings.HasSuffix(x.name, "-3") {
			c.Cluster.Join = nil // it is brought in from outside
		}
	}, token: "the-first"})
	one, two := s.seats[0], s.seats[1]
	door := func(x *seat, token string) *client.Client {
		t.Helper()
		c, err := client.New(x.admin, token, "")
		must(t, err)
		t.Cleanup(c.Close)
		return c
	}
	opens := func(x *seat, token string) error {
		_, err := door(x, token).Nodes(t.Context())
		return err
	}
	made, err := door(two, "the-first").MakeToken(t.Context(), api.TokenAsk{Name: "watcher", Roles: []api.Role{api.RoleRead}})
	must(t, err)
	must(t, opens(two, made.Token)) // at once where it was made
	eventually(t, "the token opens the other node's door", func() error { return opens(one, made.Token) })
	if err := door(one, made.Token).Drain(t.Context(), "emea-1", time.Time{}); err == nil {
		t.Error("a reader drained a node")
	}
	two.stop()
	two.start()
	eventually(t, "the token opens the door after a restart", func() error { return opens(two, made.Token) })

	var once api.TokenMade
	eventually(t, "the region of two has a leader again, which makes a token", func() (err error) {
		once, err = door(one, "the-first").MakeToken(t.Context(), api.TokenAsk{
			Name: "emea-3", Roles: []api.Role{api.RoleJoin}, Once: true, Expires: time.Now().Add(time.Hour),
		})
		return err
	})
	three := s.newSeat("emea", 2)
	s.seats = append(s.seats, three)
	three.start()
	eventually(t, "the newcomer is brought in", func() error {
		n, err := door(one, once.Token).Join(t.Context(), api.JoinRequest{Address: three.cluster})
		if err == nil && string(n.ID) != three.name {
			return fmt.Errorf("%s came in", n.ID)
		}
		return err
	})
	s.ready(three)
	a := s.send(http.MethodPost, "http://"+one.admin+"/v1/nodes", `{"address":"`+three.cluster+`"}`, map[string]string{"Authorization": "Bearer " + once.Token})
	if a.status != http.StatusForbidden {
		t.Errorf("the used token gets %d %s", a.status, a.body)
	}
	eventually(t, "the new node knows the token", func() error { return opens(three, made.Token) })

	must(t, door(one, "the-first").RevokeToken(t.Context(), "watcher"))
	for _, x := range s.seats {
		eventually(t, "the revoked token opens nothing at "+x.name, func() error {
			return not(opens(x, made.Token) != nil, "it does")
		})
	}
}
