package transport

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"tandem/ownership"
)

func TestFaultsKeepTheirMeaning(t *testing.T) {
	for _, k := range faultKinds {
		err := fromConnect("x", toConnect(fmt.Errorf("doing it: %w", k.err)))
		if !errors.Is(err, k.err) || errors.Is(err, ownership.ErrUnreachable) || !strings.Contains(err.Error(), "doing it") {
			t.Errorf("%v came over as %v", k.err, err)
		}
	}
	if err := fromConnect("x", context.DeadlineExceeded); !errors.Is(err, ownership.ErrUnreachable) {
		t.Errorf("silence came over as %v", err)
	}
	if err := fromConnect("x", toConnect(fmt.Errorf("asking the bot: %w", context.DeadlineExceeded))); !errors.Is(err, ownership.ErrUnreachable) {
		t.Errorf("running out of time over there came over as %v", err)
	}
	if err := FromFault(ToFault(nil)); err != nil {
		t.Errorf("no error came over as %v", err)
	}
	if err := fromConnect("x", toConnect(errors.New("odd"))); errors.Is(err, ownership.ErrUnreachable) || err.Error() != "odd" {
		t.Errorf("an error without a kind came over as %v", err)
	}
}
