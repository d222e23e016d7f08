package node

import (
	"fmt"
	"testing"
	"time"
)

// long marks a story that is not for daily work, with what it takes.
func long(t *testing.T, takes string) {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED with -short: " + takes)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// patience bounds every wait; the machines that run the tests are busy.
const patience = 20 * time.Second

// eventually waits until a condition holds; its error says what is missing. What took more
// than half of the patience is told: a slower machine would be too slow for it.
func eventually(t *testing.T, what string, holds func() error) {
	t.Helper()
	begun := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := holds()
		if err == nil {
			if took := time.Since(begun); took > patience/2 {
				t.Logf("NEARLY LATE, %s of %s: %s", took.Round(time.Millisecond), patience, what)
			}
			return
		}
		if time.Since(begun) > patience {
			t.Fatalf("%s: still not after %s: %v", what, patience, err)
		}
		<-tick.C
	}
}

// not turns a finding into a condition's error.
func not(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}
