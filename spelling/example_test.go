package spelling_test

import (
	"fmt"

	"tandem/spelling"
)

// What nodes redirect to must be reached from outside, and safely.
func ExamplePublicURL() {
	for _, u := range []string{"https://emea-1.bots.example", "http://emea-1.bots.example", "https://169.254.169.254"} {
		fmt.Println(u, "→", spelling.PublicURL(u))
	}
	// Output:
	// https://emea-1.bots.example → <nil>
	// http://emea-1.bots.example → is not https (http is for loopback only)
	// https://169.254.169.254 → does not name a machine: its host is a link-local, multicast or metadata address, or a number
}

// Two nodes on two machines cannot meet at an address that means every machine.
func ExampleDialable() {
	for _, a := range []string{"10.0.0.4:7000", "0.0.0.0:7000", "emea-1:99999"} {
		fmt.Println(a, "→", spelling.Dialable(a))
	}
	// Output:
	// 10.0.0.4:7000 → <nil>
	// 0.0.0.0:7000 → is 0.0.0.0:7000: that is no address of one machine; write the one at which the other nodes reach it
	// emea-1:99999 → is "emea-1:99999": the port is no number up to 65535
}
