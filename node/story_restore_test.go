package node

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"tandem/admin"
	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/ownership"
	"tandem/store/snapfile"
	"tandem/webhook"
)

// TestD2_ATokenFileLetsANodeIn: with nothing but its certificate a node waits outside
// and says what is missing; a token for one join, in its file, lets it in, and the
// region's audit log says whose it was.
func TestD2_ATokenFileLetsANodeIn(t *testing.T) {
	t.Parallel()
	s := deploy(t, plan{nodes: 1, token: "the-first", shape: func(x *seat, c *Config) {
		file := x.s.path("first.yaml")
		must(x.s.t, os.WriteFile(file, []byte("tokens: [{name: first, roles: [operate, join], sha256: "+admin.HashToken("the-first")+"}]\n"), 0o600))
		c.Admin.TokensFile, c.Cluster.JoinByCert = file, false
		c.Cluster.JoinTokenFile = x.s.path("join-token")
	}})
	one := s.seats[0]
	c, err := client.New(one.admin, "the-first", "")
	must(t, err)
	t.Cleanup(c.Close)
	must(t, os.WriteFile(s.path("join-token"), []byte("tandem_guessed\n"), 0o600))
	two := s.newSeat("emea", 1)
	s.seats = append(s.seats, two)
	two.start()
	eventually(t, "the newcomer says why it is not in", func() error {
		return not(strings.Contains(strings.Join(two.node.warnings(), "\n"), "the token it shows is not one of this region"), "it does not")
	})
	once, err := c.MakeToken(t.Context(), api.TokenAsk{Name: "for-two", Roles: []api.Role{api.RoleJoin}, Once: true, Expires: time.Now().Add(time.Hour)})
	must(t, err)
	must(t, os.WriteFile(s.path("join-token"), []byte(once.Token+"\n"), 0o600))
	s.ready(two)
	eventually(t, "the token is used", func() error {
		all, err := c.Tokens(t.Context())
		if err != nil {
			return err
		}
		for _, tok := range all {
			if tok.Name == "for-two" && tok.UsedFor == two.name && !tok.UsedAt.IsZero() {
				return nil
			}
		}
		return fmt.Errorf("the tokens are %+v", all)
	})
	log := s.log.all()
	if !strings.Contains(log, `"by":"for-two","action":"join","subject":"node `+two.name) || !strings.Contains(log, `"action":"join refused"`) {
		t.Error("the audit log tells neither who let it in nor that it was refused before")
	}
	if strings.Contains(log, once.Token) || strings.Contains(log, "guessed") {
		t.Error("a token stands in the log")
	}
}

// TestD10_NodesSignWhatTheySave: what a node saves is signed with a key that is derived
// from the deployment's handle keys; what is not is refused at the door, in words that
// say how it is taken all the same.
func TestD10_NodesSignWhatTheySave(t *testing.T) {
	t.Parallel()
	s := deploy(t, plan{nodes: 1})
	c, err := client.New(s.seats[0].admin, "", "")
	must(t, err)
	t.Cleanup(c.Close)
	var file bytes.Buffer
	must(t, c.SaveSnapshot(t.Context(), &file))
	keys, err := webhook.LoadHandles(s.path("handle-keys"))
	must(t, err)
	saved, err := snapfile.OpenSaved(bytes.NewReader(file.Bytes()), int64(file.Len()))
	must(t, err)
	must(t, saved.Verify(keys.Derived("saved snapshots")))
	bare := file.Bytes()[:saved.Size()]
	err = c.RestoreSnapshot(t.Context(), bytes.NewReader(bare), ownership.RestoreTerms{Anyhow: true})
	if err == nil || !strings.Contains(err.Error(), "--unsigned") {
		t.Errorf("a snapshot without a signature: %v", err)
	}
	// Taken, it is held against the table: it is older by now.
	if err := c.RestoreSnapshot(t.Context(), bytes.NewReader(bare), ownership.RestoreTerms{Unsigned: true}); err != nil && strings.Contains(err.Error(), "signed") {
		t.Errorf("by an operator's word: %v", err)
	}
}
