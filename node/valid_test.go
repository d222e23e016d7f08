package node

import (
	"strings"
	"testing"
	"time"
)

// unstartable are configurations that once held, and whose node did not start: some
// of them had stamped a store by then.
var unstartable = []fault{
	{"a region name of 64 letters", func(c *Config) { c.Node.Region = strings.Repeat("e", 64) }, "node.region is "},
	{"dots in the webhook's path", func(c *Config) { c.Public.WebhookPath = "/api/../calls" }, "public.webhook_path is "},
	{"a reserved character in it", func(c *Config) { c.Public.WebhookPath = "/api/a~b;c" }, "public.webhook_path is "},
	{"a metadata address", func(c *Config) { c.Public.URL = "https://169.254.169.254" }, "public.url does not name a machine"},
	{"a plain cluster port at a name", func(c *Config) {
		c.Cluster.Listen, c.Cluster.TLS, c.Cluster.Join, c.Cluster.Advertise = "x.localhost:0", PeerTLS{}, nil, ""
	}, "cluster.listen is x.localhost:0 without cluster.tls"},
	{"a plain join of another machine", func(c *Config) {
		c.Cluster.Listen, c.Cluster.TLS, c.Cluster.Advertise = "127.0.0.1:0", PeerTLS{}, ""
	}, "cluster.join[0] is 10.0.0.2:8471 without cluster.tls"},
	{"a port beyond all", func(c *Config) { c.Public.Listen = "0.0.0.0:99999" }, "public.listen is "},
	{"a base URL below the webhook's path", func(c *Config) {
		c.Public.RegionURL = "https://emea.bot.contoso.com/api/calls"
	}, "public: "},
	{"an answer that JSON cannot hold", func(c *Config) {
		c.Apps[0].AnswerWith = map[string]any{"mediaConfig": map[any]any{1: "x"}}
	}, "apps[0].answer_with"},
	{"an app twice", func(c *Config) { c.Apps = append(c.Apps, c.Apps[0]) }, "apps[1].id is "},
	{"a region twice", func(c *Config) { c.Regions = append(c.Regions, c.Regions[0]) }, "regions[1].name is "},
	{"a token address with a query", func(c *Config) { c.Apps[0].Graph.TokenURL += "?p=1" }, "apps[0].graph.token_url holds a query"},
	{"an audience that is nothing", func(c *Config) { c.Auth.Profiles[0].Audiences = []string{""} }, `auth: reading token profile "own"`},
}

// FuzzWhatValidatesStarts: whatever the keys hold, a configuration in whose keys Check
// finds nothing is one that every room takes. So a user hears of the key, and nothing
// is left to the start.
func FuzzWhatValidatesStarts(f *testing.F) {
	for _, seed := range []string{"", "a", "-", "/a", "/a/../b", "https://a.example", "http://x.localhost", "127.0.0.1:0", "x.localhost:0", "[::1]:80", testApp} {
		for field := range uint8(fuzzed) {
			f.Add(field, seed, field+1, seed, int64(0))
		}
	}
	for field := range uint8(fuzzed) {
		f.Add(field, "", field, "", int64(-1))
	}
	f.Fuzz(func(t *testing.T, field uint8, text string, other uint8, otherText string, number int64) {
		c := sound()
		put(&c, field, text, number)
		put(&c, other, otherText, number)
		c = c.Filled()
		if c.checkKeys() != nil {
			return
		}
		if err := c.checkRooms(); err != nil && !roomsWord(err) {
			t.Errorf("no key is wrong, yet %v", err)
		}
	})
}

// roomsWord reports whether an error is one of those that the rooms alone find: they
// are about several keys, or about a text in a language.
func roomsWord(err error) bool {
	for _, word := range []string{"reading rules", "reading pins", "choose another path", "audience", "Microsoft Entra's", "name the app's tenants"} {
		if strings.Contains(err.Error(), word) {
			return true
		}
	}
	return false
}

// fuzzed is how many fields put knows.
const fuzzed = 34

// put writes a value into one of the fields that a room checks.
func put(c *Config, field uint8, text string, number int64) {
	texts := []*string{
		&c.Deployment, &c.Node.ID, &c.Node.Region, &c.Public.URL, &c.Public.RegionURL, &c.Public.WebhookPath, &c.Public.HealthPath,
		&c.Public.Listen, &c.Public.Redirect.Midcall, &c.Cluster.Listen, &c.Cluster.Advertise, &c.Cluster.Join[0], &c.Admin.Listen,
		&c.Auth.Profiles[0].Name, &c.Auth.Profiles[0].OpenIDURL, &c.Auth.Profiles[0].Issuers[0], &c.Apps[0].ID, &c.Apps[0].Profile,
		&c.Apps[0].Answer, &c.Apps[0].Bot.URL, &c.Apps[0].Bot.HealthURL, &c.Apps[0].Graph.BaseURL, &c.Apps[0].Graph.TokenURL,
		&c.Regions[0].Name, &c.Regions[0].URL, &c.Regions[0].AdminURL, &c.Apps[0].Tenants[0], &c.Apps[0].Hosting,
	}
	switch at := int(field) % fuzzed; {
	case at < len(texts):
		*texts[at] = text
	case at == len(texts):
		c.Cluster.TLS = PeerTLS{}
	case at == len(texts)+1:
		c.Cluster.Lease, c.Cluster.Election = time.Duration(number), time.Duration(number/2)
	case at == len(texts)+2:
		c.Public.BodyLimit, c.Public.Redirect.Status = number, int(number)
	case at == len(texts)+3:
		c.Cluster.Partitions, c.Cluster.BootstrapExpect = int(number), int(number)
	case at == len(texts)+4:
		c.Auth.ClockSkew, c.Apps[0].Bot.Timeout = time.Duration(number), time.Duration(number)
	default:
		c.Apps[0].AnswerWith = map[string]any{text: number}
	}
}
