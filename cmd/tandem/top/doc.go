// Package top is the live screen of 'tandem top': one look at a time is gathered from the
// admin doors (gather.go), drawn by a pure function (frame.go), and kept up to date by a
// loop that hears the keys (screen.go).
package top
