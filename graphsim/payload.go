package graphsim

import (
	"encoding/json"
	"fmt"
	"strings"
)

// The bodies below are written as text after Microsoft's published samples and
// user logs, not through structs: what the router reads must not come from the
// router's own idea of the format.

const typePrefix = "#microsoft.graph."

// item is one commsNotification before it is spelled.
type item struct {
	call   *call
	change string // created, updated, deleted
	under  string // after the call id, such as /participants
	data   string // JSON of resourceData; empty: absent
	extra  string // further members, such as `"callbackUri":"…",`
}

// envelope spells items the way one service instance happens to: id form, letter
// case and resource fields drift between instances.
func (c *Cloud) envelope(d *dice, items ...item) string {
	texts := make([]string, len(items))
	for i, it := range items {
		texts[i] = c.spell(d, it)
	}
	return `{"@odata.type":"` + typePrefix + `commsNotifications","value":[` + strings.Join(texts, ",") + `]}`
}

func (c *Cloud) spell(d *dice, it item) string {
	id := it.call.raw
	if d.chance(c.cfg.Rates.Undashed) {
		id = strings.ToUpper(it.call.id)
	}
	change, data := it.change, it.data
	if d.chance(c.cfg.Rates.Capital) {
		change = capital(change)
		for _, state := range []string{"incoming", "establishing", "established", "terminated"} {
			data = strings.ReplaceAll(data, `"state":"`+state+`"`, `"state":"`+capital(state)+`"`)
		}
	}
	resource := fmt.Sprintf(`"resource":"/app/calls/%s%s",`, id, it.under)
	resourceURL := fmt.Sprintf(`"resourceUrl":"/communications/calls/%s%s",`, id, it.under)
	if d.chance(c.cfg.Rates.OneResource) {
		if d.chance(0.5) {
			resource = "" // as in the documentation
		} else {
			resourceURL = "" // as in 2019
		}
	}
	if data != "" {
		data = `"resourceData":` + strings.ReplaceAll(data, "{id}", id)
	} else {
		data = `"x-unknown":null` // fields that a reader does not know
	}
	return fmt.Sprintf(`{"@odata.type":"%scommsNotification","changeType":%q,%s%s%s%s}`,
		typePrefix, change, resource, resourceURL, it.extra, data)
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// incoming is the first notification of a call.
func (c *Cloud) incoming(k *call) string {
	d := k.dice
	members := []string{
		`"@odata.type":"` + typePrefix + `call"`,
		`"state":"incoming"`, `"direction":"incoming"`, `"id":"{id}"`,
		fmt.Sprintf(`"callChainId":%q`, k.chain),
		fmt.Sprintf(`"tenantId":%q`, k.tenant),
		fmt.Sprintf(`"myParticipantId":%q`, d.guid()),
		fmt.Sprintf(`"source":{"@odata.type":"%sparticipantInfo","identity":{"@odata.type":"%sidentitySet","user":{"@odata.type":"%sidentity","displayName":"Zoë \"Z\" Ångström","id":%q,"tenantId":%q}},"endpointType":"default","region":%q,"languageId":"en-us","countryCode":%q,"id":%q}`,
			typePrefix, typePrefix, typePrefix, d.guid(), k.tenant, k.origin.Geo, k.origin.Country, d.guid()),
		fmt.Sprintf(`"targets":[{"@odata.type":"%sinvitationParticipantInfo","identity":{"@odata.type":"%sidentitySet","application":{"@odata.type":"%sidentity","displayName":"Test BOT","id":%q}},"region":null,"languageId":null}]`,
			typePrefix, typePrefix, typePrefix, k.app.ID),
		`"requestedModalities":["audio"]`,
	}
	if k.thread != "" {
		members = append(members,
			fmt.Sprintf(`"chatInfo":{"@odata.type":"%schatInfo","threadId":%q,"messageId":"0"}`, typePrefix, k.thread),
			fmt.Sprintf(`"meetingInfo":{"@odata.type":"%sorganizerMeetingInfo","organizer":{"@odata.type":"%sidentitySet","user":{"@odata.type":"%sidentity","id":%q}},"allowConversationWithoutHost":true}`,
				typePrefix, typePrefix, typePrefix, d.guid()))
	}
	if k.recording {
		members = append(members, recordingMembers(k)...)
	}
	return c.envelope(d, item{call: k, change: "created", data: "{" + strings.Join(members, ",") + "}"})
}

// recordingMembers are what policy recording adds to an incoming call.
func recordingMembers(k *call) []string {
	pairs := "[]"
	if k.paired {
		pairs = fmt.Sprintf(`[{"id":%q,"participantId":%q}]`, k.dice.guid(), k.dice.guid())
	}
	location := map[string]string{"amer": "US", "apac": "SG"}[k.origin.Geo]
	set(&location, "EUNO")
	hosted := map[string]string{"amer": "USEA", "apac": "ASSE"}[k.origin.Geo]
	set(&hosted, "EUNO")
	return []string{
		fmt.Sprintf(`"incomingContext":{"@odata.type":"%sincomingContext","sourceParticipantId":%q,"observedParticipantId":%q}`, typePrefix, k.observed, k.observed),
		fmt.Sprintf(`"applicationMetadata":{"botData":{"mediaHostedRegion":%q,"user":{"participationMethod":"callee","clientLocation":%q},"otherSideUser":{"tenantId":%q,"participationMethod":"Caller"},"inviteReasons":["PolicyBasedRecording"],"policyIdentifier":"TeamsComplianceRecordingPolicy=Tenant:sim","pairedRecorders":%s,"otherRecorders":[],"isMultiParty":true,"applicationType":null}}`,
			hosted, location, k.tenant, pairs),
	}
}

// legacy is the old form that some bots' first notification takes: its id need
// not be the Graph call's.
func legacy(k *call) string {
	return fmt.Sprintf(`{"id":%q,"participants":[{"identity":"","participantId":"","languageId":"en-us","tenantId":%q,"region":%q,"originator":true,"isHidden":false,"endPointType":"default"},{"identity":"28:%s","originator":false}],"isMultiparty":%t,"presentedModalityTypes":["audio"],"callState":"incoming","tenantId":%q}`,
		k.dice.guid(), k.tenant, k.origin.Geo, k.app.ID, k.thread != "", k.tenant)
}

func state(word, more string) string {
	return fmt.Sprintf(`{"@odata.type":"%scall","@odata.id":"/communications/calls/{id}","@odata.etag":"W/\"5445\"","state":%q%s}`, typePrefix, word, more)
}

func stateItem(k *call, word string) item {
	return item{call: k, change: "updated", data: state(word, "")}
}

func toneItem(k *call, n int) item {
	return item{call: k, change: "updated", data: state("established",
		fmt.Sprintf(`,"toneInfo":{"@odata.type":"%stoneInfo","sequenceId":%d,"tone":"tone%d"}`, typePrefix, n, n%10))}
}

func rosterItem(k *call, n int) item {
	var people []string
	for range 1 + n%3 {
		people = append(people, fmt.Sprintf(`{"@odata.type":"%sparticipant","id":%q,"info":{"identity":{"user":{"id":%q}}},"isMuted":false,"isInLobby":false}`,
			typePrefix, k.dice.guid(), k.dice.guid()))
	}
	return item{call: k, change: "updated", under: "/participants", data: "[" + strings.Join(people, ",") + "]"}
}

func deltaRosterItem(k *call, n int) item {
	return item{call: k, change: "updated", under: "/participants", data: fmt.Sprintf(
		`{"@odata.type":"%sdeltaParticipants","participants":[{"@odata.type":"%sparticipant","id":%q}],"sequenceNumber":%d}`,
		typePrefix, typePrefix, k.dice.guid(), n)}
}

// sharingItem has no resourceData in half of the cases: `created` of it is no
// new call.
func sharingItem(k *call) item {
	it := item{call: k, change: "created", under: "/contentsharingsessions"}
	if k.dice.chance(0.5) {
		it.data = fmt.Sprintf(`[{"@odata.type":"%scontentSharingSession","id":%q}]`, typePrefix, k.dice.guid())
	}
	return it
}

// operationItem ends an operation, not the call.
func operationItem(k *call) item {
	op := k.dice.guid()
	return item{call: k, change: "deleted", under: "/operations/" + op, data: fmt.Sprintf(
		`{"@odata.type":"%splayPromptOperation","@odata.id":"/communications/calls/{id}/operations/%s","clientContext":%q,"status":"completed"}`,
		typePrefix, op, k.dice.guid())}
}

// joiningItem expects a body in the response.
func joiningItem(k *call) item {
	return item{call: k, change: "updated", data: fmt.Sprintf(
		`{"@odata.type":"%sparticipantJoiningNotification","call":{"@odata.type":"%scall","id":"{id}"}}`, typePrefix, typePrefix)}
}

// diedItem tells of the end of a call that a bot let die, with the code that it died of.
func diedItem(k *call) item {
	code, subcode, _ := strings.Cut(k.died, "/")
	return item{call: k, change: "deleted", data: state("terminated", fmt.Sprintf(
		`,"resultInfo":{"@odata.type":"%sresultInfo","code":%s,"subcode":%s,"message":"Call ended."}`, typePrefix, code, subcode))}
}

// endItem is one of the ways in which the service tells of the end of a call.
func endItem(k *call, why string) item {
	result := func(code, subcode any) string {
		c, _ := json.Marshal(code)    // ints and strings always marshal
		s, _ := json.Marshal(subcode) // likewise
		return fmt.Sprintf(`,"resultInfo":{"@odata.type":"%sresultInfo","code":%s,"subcode":%s,"message":%q}`, typePrefix, c, s, why)
	}
	switch k.dice.n(4) {
	case 0:
		return item{call: k, change: "deleted"} // without a state: call-reject, example 2
	case 1:
		return item{call: k, change: "deleted", data: state("terminated", result("200", "5001"))}
	case 2:
		return item{call: k, change: "updated", data: state("terminated", result(0, 7015))}
	}
	return item{call: k, change: "deleted", data: state("terminated", result(200, 5001))}
}
