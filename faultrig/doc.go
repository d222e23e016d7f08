// Package faultrig proves Tandem's promises from outside: it starts real
// `tandem` processes, drives simulated calls and claims at them, injects the
// faults of docs/faults.md by number, and judges by what clients saw.
//
// It stands apart, as the simulator does: it knows the simulator, the Go client
// of the admin door and the plain words of ownership, and no other room, so
// that the product's own idea of a fault cannot hide one.
//
// # Ways through
//
// A Scenario (scenario.go, the scenarios_*.go files) says what a fault needs and
// does. Run starts a fleet of nodes (fleet), on loopback, on file systems of their own or
// in network namespaces, and two loads: the simulator's calls, and claimants (claims)
// whose invocations and returns go through porcupine. The desk (desk) is the bot of the
// claimed calls and watches who owns what. When the scenario is over, judge.go asks every
// node for its table. plant builds the product with one guard taken out, to see that the
// rig notices.
//
// Everything that the rig leaves on the machine carries its prefix and a pid;
// fleet.Clean removes what a killed run left behind.
package faultrig
