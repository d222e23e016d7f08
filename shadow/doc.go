// Package shadow stands in front of an ingress that does without Tandem, and says what
// Tandem would have spared it.
//
// The proxy (proxy.go) passes every request through as it came and copies what it needs
// of notifications on their way (tap.go). A witness (witness.go) takes the copies off the
// requests' path: it verifies the token, decodes the body, and tells the judge. The judge
// (judge.go) is pure: what it is told of in, a Report out; it reads no clock. What is told
// to it has no token and no body, and calls have names that only say which are the same.
//
// Judging never delays or changes a request: what the witness cannot keep up with is
// dropped and counted, and so is what it crashes on.
package shadow
