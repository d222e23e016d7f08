// Package machines_test runs Tandem as operators do: real processes on machines
// of their own, set up by scripts/provision, joined and inspected by the
// commands. A machine is a network namespace with its own address, firewall and
// names; all hang on one switch, which is a namespace too. Nothing of it reaches
// the network of the machine that the test runs on.
//
// The calling cloud has a machine as well: the test starts itself once more in
// there (cloud_test.go) and steers it over a pipe.
package machines_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// cloudVariable names the settings of the calling cloud: where it is set, this
// process is the cloud and no test.
const cloudVariable = "TANDEM_MACHINES_CLOUD"

func TestMain(m *testing.M) {
	if settings := os.Getenv(cloudVariable); settings != "" {
		if err := runCloud(settings, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "the calling cloud:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if builds != "" {
			_ = os.RemoveAll(builds) // what is left lies among temporary files
		}
		os.Exit(code)
	}))
}
