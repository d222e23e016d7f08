package policy

import (
	"strings"

	"tandem/ownership"
)

// Facts is what the rules may ask about a call: the parts of its notification
// and headers that say where it belongs. Every one may be missing, which reads
// as "". The names in brackets are those of the rules' language.
type Facts struct {
	App               ownership.AppID    `json:"app,omitempty"`                 // [call.app] lower-case GUID
	Tenant            ownership.TenantID `json:"tenant,omitempty"`              // [call.tenant] lower-case GUID
	Observed          string             `json:"observed,omitempty"`            // [call.observed] user that policy recording follows
	OnBehalfOf        string             `json:"on_behalf_of,omitempty"`        // [call.onBehalfOf]
	Organizer         string             `json:"organizer,omitempty"`           // [call.organizer]
	PolicyIdentifier  string             `json:"policy_identifier,omitempty"`   // [call.policyIdentifier]
	Direction         string             `json:"direction,omitempty"`           // [call.direction] lower case: incoming, outgoing
	Thread            string             `json:"thread,omitempty"`              // [call.thread]
	ChainID           string             `json:"chain_id,omitempty"`            // [call.callChainId]
	CallerRegion      string             `json:"caller_region,omitempty"`       // [call.callerRegion] header X-Microsoft-Skype-Caller-Region, lower case: amer, emea, apac
	CountryCode       string             `json:"country_code,omitempty"`        // [call.source.countryCode] where the caller is; ISO 3166, upper case
	SourceRegion      string             `json:"source_region,omitempty"`       // [call.source.region] the caller's home; lower case: amer, emea, apac
	MediaHostedRegion string             `json:"media_hosted_region,omitempty"` // [call.botData.mediaHostedRegion] upper case, such as USEA
	ClientLocation    string             `json:"client_location,omitempty"`     // [call.botData.clientLocation] upper case, such as EUNO
}

// fact is one word of the rules' language. The cloud's letter case drifts
// ("US", "us"), so codes are brought to the case that the rules are told to use.
type fact struct {
	name string
	read func(*Facts) string
}

var (
	callFacts = []fact{
		{"app", func(f *Facts) string { return strings.ToLower(string(f.App)) }},
		{"tenant", func(f *Facts) string { return strings.ToLower(string(f.Tenant)) }},
		{"observed", func(f *Facts) string { return f.Observed }},
		{"onBehalfOf", func(f *Facts) string { return f.OnBehalfOf }},
		{"organizer", func(f *Facts) string { return f.Organizer }},
		{"policyIdentifier", func(f *Facts) string { return f.PolicyIdentifier }},
		{"direction", func(f *Facts) string { return strings.ToLower(f.Direction) }},
		{"thread", func(f *Facts) string { return f.Thread }},
		{"callChainId", func(f *Facts) string { return f.ChainID }},
		{"callerRegion", func(f *Facts) string { return strings.ToLower(f.CallerRegion) }},
	}
	sourceFacts = []fact{
		{"countryCode", func(f *Facts) string { return strings.ToUpper(f.CountryCode) }},
		{"region", func(f *Facts) string { return strings.ToLower(f.SourceRegion) }},
	}
	botDataFacts = []fact{
		{"mediaHostedRegion", func(f *Facts) string { return strings.ToUpper(f.MediaHostedRegion) }},
		{"clientLocation", func(f *Facts) string { return strings.ToUpper(f.ClientLocation) }},
	}
)
