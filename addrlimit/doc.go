// Package addrlimit bounds what one caller may take: connections by address, and
// failed attempts by any key. Every door counts by it, so an IPv6 network is one
// caller everywhere.
package addrlimit
