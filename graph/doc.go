// Package graph speaks the calling cloud's wire: it reads the notifications that
// come in (Decode) and makes the requests of the calls API that go out (Calls).
//
// Reading and asking share nothing but the facts about that wire. Decode is
// pure: bytes in, a Message or an error out. It knows two protocols, the legacy
// one only well enough to recognise it, and finds in a Graph body what routing,
// region rules and the table need; the bytes themselves go on to the bot as they
// came.
package graph
