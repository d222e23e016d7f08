package lease_test

import (
	"fmt"
	"time"

	"tandem/cluster/lease"
)

// A lease counts from when the renewal was sent, so it is over here before the leader
// believes so; and it counts only once the own table is as new as the leader's was.
func ExampleLease() {
	var l lease.Lease
	sent := time.Now()
	l.Renew(sent, sent.Add(300*time.Millisecond), lease.Grant{Length: 2 * time.Second, Term: 7, Applied: 120})
	const partition, epoch = 3, 1
	fmt.Println("its table is behind:", l.Holds(partition, epoch, 119, sent.Add(time.Second)))
	fmt.Println("it has caught up:   ", l.Holds(partition, epoch, 120, sent.Add(time.Second)))
	fmt.Println("two seconds later:  ", l.Holds(partition, epoch, 120, sent.Add(2*time.Second)))
	// Output:
	// its table is behind: false
	// it has caught up:    true
	// two seconds later:   false
}
