package transport

import (
	"testing"
	"time"
)

func TestResolved(t *testing.T) {
	got := NewDialer(nil, time.Second).Resolved(t.Context(), []string{"127.0.0.1:1", "nobody.invalid:2", "127.0.0.1:1", "[::1]:3"})
	if len(got) != 3 || got[0] != "127.0.0.1:1" || got[1] != "nobody.invalid:2" || got[2] != "[::1]:3" {
		t.Errorf("resolved gave %q", got)
	}
}
