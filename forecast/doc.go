// Package forecast says what would happen: when the live calls of a region or a node
// will have ended, and where new calls would go. It decides nothing and has no effect;
// where a call would go it asks the rules that decide it.
package forecast
