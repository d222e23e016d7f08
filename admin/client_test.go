package admin

import (
	"errors"
	"strings"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/admin/client"
	"tandem/ownership"
)

func TestClientErrors(t *testing.T) {
	t.Parallel()
	r := tokenRoom(t)
	c, ctx := r.client(api.RoleRead), t.Context()
	_, err := c.Node(ctx, "emea-77")
	if !client.NotFound(err) || client.Unavailable(err) || !strings.Contains(err.Error(), `has no node "emea-77"`) {
		t.Errorf("404: %v", err)
	}
	var p *client.Problem
	if err := c.Remove(ctx, "emea-2"); !errors.As(err, &p) || p.Status != 403 {
		t.Errorf("403: %v", err)
	}
	r.fake.set(func() { r.fake.fail = ownership.ErrNoLeader })
	c.Consistency = api.Linearizable
	_, err = c.Nodes(ctx)
	if !client.Unavailable(err) || client.NotFound(err) || !errors.As(err, &p) || p.RetryAfter != 2*time.Second {
		t.Errorf("503: %v", err)
	}
	c.Consistency = "eventual"
	if _, err := c.Nodes(ctx); !errors.As(err, &p) || p.Status != 400 || !strings.Contains(err.Error(), `consistency is "eventual": write one of local, leader, linearizable`) {
		t.Errorf("400 does not say what is wrong: %v", err)
	}
	// Nobody listens there.
	nobody, err := client.New("127.0.0.1:1", "", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nobody.Status(ctx); !client.Unavailable(err) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("a door that is not there: %v", err)
	}
	if err := nobody.Events(ctx, 0, true, nil); !client.Unavailable(err) {
		t.Errorf("following a door that is not there: %v", err)
	}
}
