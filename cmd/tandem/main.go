// Command tandem is a multi-region stateful call router for Microsoft Teams
// calling bots: it starts nodes, runs a whole deployment on a laptop, and is
// the client of the admin door.
package main

import "os"

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}
