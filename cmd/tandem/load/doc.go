// Package load runs the simulated cloud at rates that rise step by step, and tells what
// answers and later notifications took at each.
//
// The loop is open: a call rings when it is due, however slow those before it are, and what
// it took counts from then. A closed loop waits where the tested waits, and so hides it.
package load
