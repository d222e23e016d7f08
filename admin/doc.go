// Package admin is the private door: the HTTP API with which operators,
// scripts, bots, joining nodes and other regions look at a node and change its
// region, and the console's pages beside it. What the API carries is package api,
// its Go client package client.
//
// The door knows no other room. What it needs is declared in deps.go; the room
// node introduces the real ones. Reads come from the table in memory of the
// node that was asked, acts go through Cluster, which carries them to the
// leader: so any node takes any request.
//
// The shape of the API is fixed here in code and published as OpenAPI 3.1 at
// /v1/openapi.json; every refusal is a problem of RFC 9457.
package admin
