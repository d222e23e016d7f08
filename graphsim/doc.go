// Package graphsim is a local Graph calling cloud, unkind by default, with its
// own oracle and a sample bot.
//
// It posts notifications to Tandem's public door the way the calling cloud
// does, serves the endpoints that Tandem asks (OpenID configuration, keys,
// tokens, calls API), plays the bot beside each node, and judges from what it
// saw itself: was each notification handled by the call's owner, once, in
// order, and was each call answered inside its clock?
//
// The package shares no code with the rooms it tests: it writes payload text
// and signs tokens itself, so that a shared mistake cannot hide.
//
// Where the calling cloud's behaviour is not published, it is a switch:
// Switches says which.
//
// # Ways through
//
// Run (load.go) starts stories (story.go), one goroutine a call. A story writes
// payload text (payload.go), a courier (courier.go) delivers it with retries,
// a poster (post.go) follows redirects for one attempt. The endpoints
// (identity.go, callsapi.go) and the bots (bot.go) are one HTTP server. All of
// them write to the ledger (ledger.go), and judge.go turns it into a Report.
package graphsim
