package machines_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/graphsim"
)

// cloudAddress is the calling cloud's; 10.77.1.n are the nodes of the first region.
const cloudAddress = "10.77.0.1"

// layout is how many machines stand where.
type layout struct {
	regions []string
	each    int     // nodes of a region
	astray  float64 // of later notifications, how many come in another region
	known   bool    // the regions read of each other at their admin doors
	hard    bool    // no region ever stands in for another
}

var twoRegions = layout{regions: []string{"emea", "amer"}, each: 3}

// network is the addresses of a region.
func (l layout) network(region string) string {
	return fmt.Sprintf("10.77.%d.0/24", slices.Index(l.regions, region)+1)
}

func regionURL(region string) string { return "https://" + region + ".bot.test:8443" }

// stage is the machines of some regions, and a calling cloud.
type stage struct {
	layout
	t        *testing.T
	net      *network
	desk     string
	machines []*machine
	cloud    *cloud
	begun    time.Time
}

// tell goes on with the story.
func (s *stage) tell(format string, args ...any) {
	s.t.Helper()
	s.t.Logf("%5.1f s  "+format, append([]any{time.Since(s.begun).Seconds()}, args...)...)
}

// of returns the machines of a region whose node was not killed.
func (s *stage) of(region string) []*machine {
	return slices.DeleteFunc(slices.Clone(s.machines), func(m *machine) bool { return m.region != region || m.killed })
}

func (s *stage) everywhere() (all []*machine) {
	for _, region := range s.regions {
		all = append(all, s.of(region)...)
	}
	return all
}

// build makes the network, the calling cloud and the machines, each set up.
func build(t *testing.T, l layout) *stage {
	t.Helper()
	s := cable(t, l)
	s.provision()
	return s
}

// cable makes the network, the calling cloud and the machines, with nothing on them.
func cable(t *testing.T, l layout) *stage {
	t.Helper()
	s := &stage{layout: l, t: t, begun: time.Now(), net: newNetwork(t), desk: filepath.Join(t.TempDir(), "desk")}
	var names strings.Builder
	for r, region := range s.regions {
		for i := range s.each {
			m := &machine{
				t: t, net: s.net, name: fmt.Sprintf("%s-%d", region, i+1), region: region, zone: string(rune('a' + i)),
				address: fmt.Sprintf("10.77.%d.%d", r+1, i+1), root: t.TempDir(), desk: s.desk,
			}
			s.machines = append(s.machines, m)
			fmt.Fprintf(&names, "%s %s.bot.test\n", m.address, region)
		}
	}
	var networks []string
	urls := map[string]string{}
	for _, region := range s.regions {
		networks, urls[region] = append(networks, s.network(region)), regionURL(region)
	}
	for _, m := range s.machines {
		s.net.plug(m.name, m.address, names.String())
		s.net.guard(m.name, strings.Join(networks, ", "))
	}
	s.net.plug("cloud", cloudAddress, names.String())
	s.tell("a switch, %d machines and the calling cloud are cabled", len(s.machines))

	binary := buildTandem(t)
	in := func(name string) string { return filepath.Join(s.desk, "trial", name) }
	must(t, s.net.command(t.Context(), "cloud", binary, "tls", "ca", "--dir", in("")))
	must(t, s.net.command(t.Context(), "cloud", binary, "tls", "public", "--dir", in(""), "--name", "cloud", "--host", cloudAddress))
	s.cloud = startCloud(t, s.net, cloudSettings{
		Listen: cloudAddress + ":443", CertFile: in("cloud.pem"), KeyFile: in("cloud-key.pem"), CAFile: in("ca.pem"),
		RegionURLs: urls, Astray: s.astray, Willing: s.hard,
		Targets: s.targets(), Seed: uint64(time.Now().UnixNano()),
	})
	s.tell("the calling cloud serves %s", s.cloud.first.GraphURL)
	return s
}

// provision sets all machines up.
func (s *stage) provision() {
	s.t.Helper()
	binary := buildTandem(s.t)
	for i, m := range s.machines {
		more := []string{"--region-url", regionURL(m.region)}
		for _, other := range s.regions {
			if other != m.region {
				url := regionURL(other)
				if s.known {
					url += ",https://" + s.of(other)[0].address + ":8470"
				}
				more = append(more, "--other", other+"="+url)
			}
		}
		if s.known {
			m.admin = "https://" + m.address + ":8470"
			more = append(more, "--admin", m.address+":8470")
		}
		if i%s.each == 0 {
			more = append(more, "--first")
		}
		m.provision(binary, s.apps(m), more...)
	}
	s.tell("scripts/provision has set up all machines")
}

// targets is what the names of the regions resolve to. GeoDNS soon keeps away
// from a node that does not answer.
func (s *stage) targets() []graphsim.Target {
	var all []graphsim.Target
	for _, m := range s.machines {
		all = append(all, graphsim.Target{Region: m.region, Node: m.name, URL: "https://" + m.address + ":8443", Down: m.killed})
	}
	return all
}

// apps writes what an operator writes: the app, whose tokens are taken, and
// which calls belong to which region.
func (s *stage) apps(m *machine) string {
	s.t.Helper()
	secret, file := m.path("client-secret"), m.path("apps.yaml")
	first := s.cloud.first
	text := fmt.Sprintf(`auth:
  profiles:
    - name: simulated
      openid_url: %q
      issuers: [%q, %q]
apps:
  - id: %s
    profile: simulated
    hosting: service
    answer: router
    answer_with: {acceptedModalities: [audio], mediaConfig: {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"}}
    bot: {url: %q, health_url: %q}
    graph: {base_url: %q, token_url: %q, client_secret_file: %q}
rules:
%s`, first.OpenIDURL, graphsim.IssuerBotFramework, graphsim.IssuerGraph, appID,
		first.Bots[m.name], first.Bots[m.name]+"health", first.GraphURL, first.TokenURL, secret, s.rules(s.hard))
	for name, body := range map[string]string{secret: appSecret, file: text} {
		if err := os.WriteFile(name, []byte(body), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	return file
}

// rules name a region for every call.
func (s *stage) rules(hard bool) string {
	more := ""
	if hard {
		more = ", residency: hard"
	}
	rule := func(when, region string) string {
		return fmt.Sprintf("  - {when: '%s', region: %s%s}\n", when, region, more)
	}
	text := rule(`call.source.countryCode in ["US", "CA"]`, "amer")
	if slices.Contains(s.regions, "apac") {
		text += rule(`call.source.region == "apac"`, "apac")
	}
	return text + rule("true", "emea")
}

// form starts the nodes and joins them: the first of each region founds it,
// the second asks to be let in, and the first invites the third.
func (s *stage) form() {
	s.t.Helper()
	for _, m := range s.machines {
		m.start()
	}
	for _, region := range s.regions {
		at := s.of(region)
		if _, err := at[0].tandem("found", "--wait", "60s"); err != nil {
			s.t.Fatalf("%v\nthe end of its log:\n%s", err, at[0].tail())
		}
		joins := []struct{ asked, other *machine }{{at[1], at[0]}, {at[0], at[len(at)-1]}}
		for _, join := range joins[:len(at)-1] {
			if _, err := join.asked.tandem("join", join.other.address+":8471", "--wait", "60s"); err != nil {
				s.t.Fatalf("%v\nthe end of its log:\n%s", err, join.asked.tail())
			}
		}
	}
	s.ready()
}

// ready waits until all nodes may act as owner, and each region takes the others for well.
func (s *stage) ready() {
	s.t.Helper()
	took := eventually(s.t, 30*time.Second, "nodes that may act as owner", func() string {
		for _, m := range s.machines {
			seen, err := m.inspect()
			switch {
			case err != nil:
				return err.Error()
			case len(seen.nodes) != s.each || len(seen.partitions) != s.each*8:
				return fmt.Sprintf("%s sees %d nodes and %d partitions", m.name, len(seen.nodes), len(seen.partitions))
			case !seen.status.Leased || seen.status.Room == 0:
				return fmt.Sprintf("%s has no lease or no room", m.name)
			}
			known, err := read[[]api.Region](m, "regions")
			if err != nil {
				return err.Error()
			}
			for _, r := range known {
				if !r.Healthy {
					return fmt.Sprintf("%s does not take region %s for healthy", m.name, r.Name)
				}
			}
		}
		return ""
	})
	s.tell("%d regions of %d nodes, joined; all ready after %s", len(s.regions), s.each, took.Round(time.Millisecond))
}

// agree waits until the nodes of a region show one table (I7), and gives it.
func (s *stage) agree(region string) sight {
	s.t.Helper()
	var first sight
	took := eventually(s.t, 10*time.Second, "one table on all nodes of "+region, func() string {
		for i, m := range s.of(region) {
			seen, err := m.inspect()
			switch {
			case err != nil:
				return err.Error()
			case i == 0:
				first = seen
			case seen.status.Cluster.Applied != first.status.Cluster.Applied:
				return fmt.Sprintf("%s is at index %d, another one at %d", m.name, seen.status.Cluster.Applied, first.status.Cluster.Applied)
			case !reflect.DeepEqual(seen.owners(), first.owners()):
				return fmt.Sprintf("%s shows other owners: %v, not %v", m.name, seen.owners(), first.owners())
			case !maps.Equal(seen.owned(), first.owned()):
				return fmt.Sprintf("%s shows other calls: %d, not %d", m.name, len(seen.calls), len(first.calls))
			}
		}
		return ""
	})
	s.tell("all %d nodes of %s show the same %d partitions and %d calls (after %s)",
		len(s.of(region)), region, len(first.partitions), len(first.calls), took.Round(time.Millisecond))
	return first
}

// stop stops all nodes together, as the end of a deployment.
func (s *stage) stop() {
	s.t.Helper()
	for _, m := range s.machines {
		m.terminate()
	}
	for _, m := range s.machines {
		m.stop()
	}
	s.tell("all nodes have stopped when they were asked to")
}
