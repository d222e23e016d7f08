package addrlimit_test

import (
	"fmt"

	"tandem/addrlimit"
)

// An IPv6 network is one caller: its owner has more addresses than anybody can count.
func ExampleKey() {
	fmt.Println(addrlimit.Key("198.51.100.7:4711"))
	fmt.Println(addrlimit.Key("[2001:db8:1:2::7]:4711"))
	fmt.Println(addrlimit.Key("[2001:db8:1:2:ffff::8]:99"))
	// Output:
	// 198.51.100.7
	// 2001:db8:1:2::
	// 2001:db8:1:2::
}

// A caller that holds as many connections as it may gets no other one.
func ExampleConns() {
	conns, from := addrlimit.NewConns(2), addrlimit.Key("198.51.100.7:4711")
	fmt.Println(conns.Enter(from), conns.Enter(from), conns.Enter(from))
	conns.Leave(from)
	fmt.Println(conns.Enter(from))
	// Output:
	// true true false
	// true
}
