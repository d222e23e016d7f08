package api

import "time"

// Role says what a token may do.
type Role string

// The roles. RoleOperate includes RoleRead; the others stand alone.
const (
	RoleRead    Role = "read"    // look at everything but secrets
	RoleOperate Role = "operate" // and change it
	RoleBot     Role = "bot"     // ask for callback URIs
	RoleJoin    Role = "join"    // take a node into the region
)

// Whoami is how the door knows a caller.
type Whoami struct {
	Name    string    `json:"name"`
	Roles   []Role    `json:"roles"`
	Expires time.Time `json:"expires,omitzero"`
	Once    bool      `json:"once,omitempty" doc:"The token ends with its first use."`
	Open    bool      `json:"open" doc:"No tokens are set up and the door listens on loopback: everybody may do everything."`
}

// TokenInfo is one token of the door without its secret.
type TokenInfo struct {
	Name    string    `json:"name"`
	Roles   []Role    `json:"roles"`
	Origin  string    `json:"origin" enum:"file,region" doc:"file: the tokens file of the node that answers; region: kept for every node of the region."`
	Once    bool      `json:"once,omitempty" doc:"It ends with its first use."`
	Expires time.Time `json:"expires,omitzero"`
	Expired bool      `json:"expired"`
	MadeBy  string    `json:"made_by,omitempty" doc:"Name of the token that asked for it."`
	MadeAt  time.Time `json:"made_at,omitzero"`
	UsedFor string    `json:"used_for,omitempty" doc:"Cluster address of the node that a token for one use is bound to."`
	UsedAt  time.Time `json:"used_at,omitzero" doc:"When that node came in: the token has ended."`
}

// The origins of a token.
const (
	OriginFile   = "file"
	OriginRegion = "region"
)

// TokenAsk asks for a new token of the region's doors.
type TokenAsk struct {
	Name    string    `json:"name" minLength:"1" maxLength:"64" pattern:"^[A-Za-z0-9][A-Za-z0-9._@-]*$" patternDescription:"letters, digits and . _ @ -" doc:"Shown in the audit log."`
	Roles   []Role    `json:"roles" minItems:"1" maxItems:"4" uniqueItems:"true"`
	Expires time.Time `json:"expires,omitzero" doc:"Absent: never. A token for one use must expire."`
	Once    bool      `json:"once,omitempty" doc:"For one node's join only, which its role must be."`
}

// TokenMade is a new token. Its secret is told this once and kept nowhere.
type TokenMade struct {
	TokenInfo
	Token string `json:"token" doc:"What goes into the Authorization header after Bearer."`
}

// Change is one line of the audit log.
type Change struct {
	At      time.Time `json:"at"`
	By      string    `json:"by" doc:"Name of the token; loopback when none is set up."`
	From    string    `json:"from" doc:"Address of the caller."`
	Action  string    `json:"action" doc:"Operation id of the API."`
	Subject string    `json:"subject,omitempty" doc:"Path of the request."`
	Status  int       `json:"status" doc:"What it was answered with."`
	Detail  string    `json:"detail,omitempty"`
}
