// Package pulse remembers how this node was in the last hour: every ten seconds it takes a
// few figures out of the node's own metrics, and keeps them in a ring in memory. It is what
// the console's charts are drawn from where nobody runs a time-series database, or where
// that one is what is broken.
package pulse
