// Package ledger is the form of a region's ledger: entries that say what became of calls
// and who changed what, a Merkle tree over them, and the heads that a region signs.
//
// # Entries
//
// An entry is one line of JSON, and that line is what the tree is made of: whoever has
// the lines and a signed head can check them with any tool that knows SHA-256. A line has
// one spelling only (Decode refuses any other), so no byte of it can differ unseen.
//
// # The tree
//
// It is the tree of RFC 6962, by golang.org/x/mod/sumdb/tlog: the hash of an entry is
// SHA-256 of a zero byte and the line. An entry that is deleted leaves its hash, and a
// subtree that is deleted whole leaves its own only: the root stays what it was, and the
// proof of every other entry holds. So a ledger costs what it still holds, and not
// what it ever held.
//
// # Heads
//
// A head is a note in the form of golang.org/x/mod/sumdb/note: the region's name, the
// number of entries, the root and a time, signed with ed25519. A head that somebody keeps
// binds all entries before it for ever, whatever becomes of the region's keys.
//
// The package knows no clock, no file and no network.
package ledger
