package graph

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// sample reads one published body.
func sample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "samples", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	upper  = "57DAB8B1894C409AB240BD8BEAE78896"
	dashed = "57dab8b1-894c-409a-b240-bd8beae78896"
	same   = "57dab8b1894c409ab240bd8beae78896"
)

// samples says what every published sample is. TestSamples fails for a file
// that is missing here.
var samples = map[string]*Notification{
	"graph-incoming-p2p.json":                            {Kind: NewCall, Change: Created, CallID: same, RawCallID: upper, Type: "call", State: StateIncoming},
	"graph-incoming-policy-recording.json":               {Kind: NewCall, Change: Created, CallID: "e71f03009c1f4d99b5f42722e877d497", RawCallID: "e71f0300-9c1f-4d99-b5f4-2722e877d497", Type: "call", State: StateIncoming},
	"graph-incoming-with-callbackuri-appid-in-path.json": {Kind: NewCall, Change: Created, CallID: "491f0b00ffff4bc9a43eb226498ec22a", RawCallID: "491f0b00-ffff-4bc9-a43e-b226498ec22a", Type: "call", State: StateIncoming},
	"seen-incoming-policy-recording-emea-2021.json":      {Kind: NewCall, Change: Created, CallID: "9e1f5d00b31f4af3b9ef93d86069047a", RawCallID: "9e1f5d00-b31f-4af3-b9ef-93d86069047a", Type: "call", State: StateIncoming},
	"graph-establishing.json":                            {Kind: Update, Change: Updated, CallID: same, RawCallID: upper, Type: "call", State: StateEstablishing},
	"graph-established.json":                             {Kind: Update, Change: Updated, CallID: same, RawCallID: upper, Type: "call", State: StateEstablished},
	"graph-established-meeting-with-chatinfo.json":       {Kind: Update, Change: Updated, CallID: "2f1a1100b17440a0aba70b405e01ed92", RawCallID: "2f1a1100-b174-40a0-aba7-0b405e01ed92", Type: "call", State: StateEstablished},
	"graph-terminating.json":                             {Kind: Update, Change: Updated, CallID: same, RawCallID: dashed, Type: "call", State: StateTerminating},
	"graph-terminated-resultinfo-string-codes.json":      {Kind: EndOfCall, Change: Deleted, CallID: same, RawCallID: dashed, Type: "call", State: StateTerminated},
	"graph-terminated-transfer-completed.json":           {Kind: EndOfCall, Change: Deleted, CallID: "341a0500d4bf42248b191581168d328b", RawCallID: "341a0500-d4bf-4224-8b19-1581168d328b", Type: "call", State: StateTerminated},
	"graph-transferring.json":                            {Kind: Update, Change: Updated, CallID: "341a0500d4bf42248b191581168d328b", RawCallID: "341a0500-d4bf-4224-8b19-1581168d328b", Type: "call", State: StateTransferring},
	"graph-tone.json":                                    {Kind: Update, Change: Updated, CallID: same, RawCallID: dashed, Type: "call", State: StateEstablished},
	"graph-record-operation-completed.json":              {Kind: Update, Change: Deleted, CallID: same, RawCallID: upper, SubResource: "operations/0FE0623FD62842EDB4BD8AC290072CC5", Type: "recordoperation"},
	"graph-playprompt-operation-completed.json":          {Kind: Update, Change: Deleted, CallID: same, RawCallID: upper, SubResource: "operations/0FE0623FD62842EDB4BD8AC290072CC5", Type: "playpromptoperation"},
	"graph-contentsharing-started-array.json":            {Kind: Update, Change: Created, CallID: "421f4c0044364c3a9d9ac4924cf98e67", RawCallID: "421f4c00-4436-4c3a-9d9a-c4924cf98e67", SubResource: "contentsharingsessions"},
	"seen-updated-capitalised-2023.json":                 {Kind: Update, Change: Updated, CallID: "601f5a0033dc44d5abc35d07d53b8cf9", RawCallID: "601f5a00-33dc-44d5-abc3-5d07d53b8cf9", Type: "call"},

	"legacy-skype-incoming.json":           legacy,
	"legacy-skype-conversationresult.json": legacy,
	"legacy-teams-incoming-2020.json":      legacy,

	"legacy-workflow-answer.json":                       neither,
	"malformed-notification.txt":                        neither,
	"seen-botdata-compliance-2023.json":                 neither,
	"headers-seen-incoming-2023.json":                   neither,
	"headers-seen-update-redelivered-2023.json":         neither,
	"openid-configuration.json":                         neither,
	"request-answer-apphosted.json":                     neither,
	"request-answer-servicehosted.json":                 neither,
	"request-answer-with-capacity-and-calloptions.json": neither,
	"request-redirect.json":                             neither,
	"request-reject-busy.json":                          neither,
	"response-participantjoining-invitenewbot.json":     neither,
	"shape-deltaparticipants.json":                      neither,
	"shape-participantjoiningnotification.json":         neither,
	"shape-participantleftnotification.json":            neither,
	"token-claims.json":                                 neither,
	"token-seen-channel-message-2022-decoded.json":      neither,
	"token-seen-meeting-join-2021-decoded.json":         neither,
	"token-seen-teams-callback-2022-decoded.json":       neither,
}

var (
	legacy  = &Notification{}
	neither = (*Notification)(nil)
)

func TestSamples(t *testing.T) {
	files, err := filepath.Glob("testdata/samples/*")
	if err != nil || len(files) < len(samples) {
		t.Fatalf("found %d samples of %d: %v", len(files), len(samples), err)
	}
	for _, f := range files {
		name := filepath.Base(f)
		if name == "SOURCES.txt" {
			continue
		}
		t.Run(strings.TrimSuffix(name, filepath.Ext(name)), func(t *testing.T) {
			want, ok := samples[name]
			if !ok {
				t.Fatal("this sample is not classified")
			}
			got, err := Decode(sample(t, name), Limits{})
			if want == neither {
				if !errors.Is(err, ErrMalformed) {
					t.Fatalf("it was taken for a notification: %+v, %v", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wantMessage := Message{Kind: Graph, Notifications: []Notification{*want}}
			if want == legacy {
				wantMessage = Message{Kind: Legacy}
			}
			if diff := cmp.Diff(wantMessage, got, cmpopts.IgnoreFields(Notification{}, "Call")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestFactsOfSamples reads what rules, groups and the table need out of three
// published bodies.
func TestFactsOfSamples(t *testing.T) {
	unexported := cmpopts.IgnoreUnexported(Call{})
	for _, c := range []struct {
		name      string
		recording bool
		want      Call
	}{
		{"graph-incoming-policy-recording.json", true, Call{
			Direction: "incoming", TenantID: "932899f8-2ea1-4604-8413-27bd2892079f", ChainID: "05f2f70f-3a9c-47c1-80a9-cc79e91d8cec",
			SourceID: "90fad2ce-8989-41a1-8a66-f6636e629a2a", SourceUser: "8A34A46B-3D17-4ADC-8DCE-DC4E7D572698", SourceRegion: "amer",
			ObservedParticipant: "30fad2ce-8989-41a1-8a66-f6636e629a2a", ObservedUser: "8A34A46B-3D17-4ADC-8DCE-DC4E7D572698",
			MediaHostedRegion: "USEA", ClientLocation: "US", PolicyIdentifier: "Test Policy",
			InviteReasons: []string{"PolicyBasedRecording"}, PairedRecorders: 1,
		}},
		{"seen-incoming-policy-recording-emea-2021.json", true, Call{
			Direction: "incoming", SourceID: "c123dea8-a848-487c-adde-86ba51e4ef36", SourceUser: "1d8cc215-be4d-456d-a515-cb057369c636",
			SourceRegion: "emea", SourceCountry: "HU",
		}},
		{"graph-incoming-p2p.json", false, Call{
			Direction: "incoming", SourceUser: "8A34A46B-3D17-4ADC-8DCE-DC4E7D572698", SourceRegion: "westus",
			TargetApps: []string{"8A34A46B-3D17-4ADC-8DCE-DC4E7D572698"}, Modalities: []string{"audio"},
		}},
		{"graph-established-meeting-with-chatinfo.json", false, Call{
			ThreadID:  "19:meeting_Win6Ydo4wsMijFjZS00ZGVjLTk5MGUtOTRjNWY2NmNkYTFm@thread.v2",
			Organizer: "5810cede-f3cc-42eb-b2c1-e9bd5d53ec96",
		}},
		{"graph-terminated-resultinfo-string-codes.json", false, Call{Result: "200/5001"}},
		{"graph-terminated-transfer-completed.json", false, Call{Result: "0/7015"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			msg, err := Decode(sample(t, c.name), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			got := msg.Notifications[0].Call
			if diff := cmp.Diff(c.want, *got, unexported); diff != "" {
				t.Error(diff)
			}
			if got.Recording() != c.recording {
				t.Errorf("Recording() = %v, want %v", got.Recording(), c.recording)
			}
		})
	}
}

// TestJoinTokenIsNeverRead: meetingInfo.token is a bearer token of the calling
// service's own issuer and lives 24 hours.
func TestJoinTokenIsNeverRead(t *testing.T) {
	body := strings.Replace(string(sample(t, "graph-incoming-policy-recording.json")), "join token", "CANARY-JOIN", 1)
	if !strings.Contains(body, "CANARY-JOIN") {
		t.Fatal("the sample has no join token any more")
	}
	msg, err := Decode([]byte(body), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if text := cmp.Diff(Call{}, *msg.Notifications[0].Call, cmp.AllowUnexported(Call{}, target{})); strings.Contains(text, "CANARY") {
		t.Error(text)
	}
}
