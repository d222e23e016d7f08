// Package token answers one question: is this bearer token from the calling
// service, and for one of our apps?
//
// A Verifier is built once from profiles (one for each cloud: issuers,
// metadata URLs, audiences) and apps. Verify takes the headers of a request
// and returns the claims that may be trusted, or a *Refusal with a fixed text.
// Explain returns the same judgement claim by claim, through the same checks.
//
// # The way of a token
//
// size and charset → three parts → header → claims → app (aud) → issuer →
// lifetime → tenant present → key known → signature → tenant allowed. All but
// the signature costs a few microseconds, so junk is refused before any RSA
// work. A token that passed is remembered by its SHA-256; a failure never is.
//
// # Why the JSON is read here
//
// github.com/golang-jwt/jwt/v5 does the signature, with its method pinned to
// RS256. Its parser is not used: it accepts repeated members, names in any
// case and tokens without exp, and its encoding/json reading beside a strict
// one would leave two opinions on the same bytes. Here one strict reading
// (github.com/go-json-experiment/json: no repeated names, exact names, exact
// types, valid UTF-8) decides, and the signature is verified over the very
// bytes that were read.
//
// # Why the key sets are kept here
//
// github.com/MicahParks/jwkset turns one JWK into a key. Its HTTP storage, and
// keyfunc on top of it, are not used: in v0.11.4 one malformed key voids the
// whole refresh, an empty set replaces a good one, a set never grows too old,
// waiting for the rate limiter happens inside the request, and two refreshes
// may run at once; no option changes that. The source in this package is one
// goroutine for each metadata URL, hence single flight by construction; it
// reads the time from Config.Now and sleeps on time.Timer, so tests drive it
// with a clock of their own or with testing/synctest.
//
// # When keys are fetched
//
// On New, then every hour, and when a token names an unknown key: at most
// once a minute for each metadata URL, however many unknown ids arrive. An
// unknown id that comes too early is not forgotten: the fetch happens when
// the minute is over. Until then the answer is 503, for the key may be real, and
// the calling service repeats: junk puts a real rotation off by a minute at most.
// After a failure the next attempt backs off; the last good set serves for up
// to 24 hours, then the answer is 503, as it is before the first set arrived:
// the calling service repeats after 5xx and gives up after 4xx. While no set
// serves, every token asks for a fetch, once a second at most.
package token
