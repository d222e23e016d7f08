// Package bundle gathers what a person far away needs to see what is wrong with a
// deployment, from all nodes, into one archive (bundle.go), and takes out whatever looks
// like a secret on the way (redact.go): the archive is made to be sent to others.
package bundle
