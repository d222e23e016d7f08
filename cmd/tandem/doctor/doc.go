// Package doctor examines a deployment from the outside: it asks every admin door and every
// public door (examine.go), and says what is wrong and what to do, from what it saw alone
// (judge.go). What only the node's own machine shows is in machine.go.
package doctor
