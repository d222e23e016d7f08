package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"tandem/admin/api"
	"tandem/ownership"
)

// Thresholds, and why they lie there.
const (
	clockWarn = 2 * time.Second  // times in logs of two nodes cannot be compared any more
	clockFail = 30 * time.Second // far from NTP: tokens are judged within auth.clock_skew, 5 minutes by default
	endsWarn  = 30 * 24 * time.Hour
	endsFail  = 7 * 24 * time.Hour
	keysOld   = 36 * time.Hour // the issuers' keys are fetched anew once a day at least
	tokenOld  = 25 * time.Hour // projected tokens live a day at most, and are renewed before
	fullWarn  = 90             // per cent of the capacity
)

// Judge says what is wrong with what was seen; each check that found nothing says so, too.
// What fails comes first.
func Judge(s Seen) []Finding {
	var all []Finding
	for name, check := range map[string]func(Seen) []Finding{
		"doors": reached, "disks": disks, "clocks": clocks, "readiness": readiness, "promises": promised, "certificates": certificates,
		"outbound tokens": outbound, "keys": keys, "peers": peers, "versions": versions, "drift": drifted,
		"public addresses": addresses, "capacity": full, "warnings": warned,
	} {
		found := check(s)
		for i := range found {
			found[i].Check = name
		}
		if len(found) == 0 {
			found = []Finding{{Check: name, Where: "all", Text: "nothing is wrong"}}
		}
		all = append(all, found...)
	}
	all = untwice(merged(all))
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Or(-cmp.Compare(a.Level, b.Level), cmp.Compare(a.Check, b.Check), cmp.Compare(a.Where, b.Where), cmp.Compare(a.Text, b.Text))
	})
	return all
}

// merged makes one finding of those that say the same of several nodes.
func merged(all []Finding) (out []Finding) {
	at := map[Finding]int{}
	for _, f := range all {
		same := f
		same.Where = ""
		if i, known := at[same]; known {
			out[i].Where += ", " + f.Where
			continue
		}
		at[same] = len(out)
		out = append(out, f)
	}
	return out
}

// untwice leaves out warnings of nodes that another check tells, too.
func untwice(all []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(all), func(w Finding) bool {
		return w.Check == "warnings" && slices.ContainsFunc(all, func(f Finding) bool { return f.Level >= Warn && f.Check != w.Check && strings.Contains(f.Text, w.Text) })
	})
}

// answered are the nodes that told of themselves.
func (s Seen) answered() []Node {
	return slices.DeleteFunc(slices.Clone(s.Nodes), func(n Node) bool { return n.Err != nil })
}

func reached(s Seen) (out []Finding) {
	for _, n := range s.Nodes {
		switch {
		case n.State == api.NodeSilent:
			out = append(out, Finding{Level: Fail, Where: string(n.ID), Text: "the node is silent: " + cmp.Or(n.Silence, "its region hears nothing of it"),
				Do: "start it; if it is lost for good: tandem remove " + string(n.ID)})
		case n.Err != nil:
			out = append(out, Finding{Level: Unknown, Where: string(n.ID), Text: "its admin door cannot be asked from here: " + n.Err.Error(),
				Do: "run tandem doctor on its machine, or let admin.listen be reached from here"})
		}
	}
	return out
}

// disks judges what each node's watchdog measured last.
func disks(s Seen) (out []Finding) {
	for _, n := range s.answered() {
		took := time.Duration(n.Metrics["tandem_disk_sync_seconds"] * float64(time.Second))
		level, do := judgeSync(took, took)
		switch {
		case n.Metrics["tandem_disk_trouble"] > 0:
			out = append(out, Finding{Level: Fail, Where: string(n.ID), Text: "its data directory takes no writes", Do: "see the disk: df, dmesg"})
		case level != Well:
			out = append(out, Finding{Level: level, Where: string(n.ID), Text: fmt.Sprintf("a write of a few bytes took %s to reach its disk", took.Round(time.Millisecond)), Do: do})
		}
	}
	return out
}

func clocks(s Seen) (out []Finding) {
	for _, n := range s.answered() {
		off := max(n.Clock.Abs()-n.RTT/2, 0) // what is certain
		if off < clockWarn {
			continue
		}
		which, level := "ahead of", Warn
		if n.Clock < 0 {
			which = "behind"
		}
		if off >= clockFail {
			level = Fail
		}
		out = append(out, Finding{Level: level, Where: string(n.ID), Text: fmt.Sprintf("its clock is %s %s this machine's", off.Round(100*time.Millisecond), which),
			Do: "see that chrony or systemd-timesyncd runs, on both machines: timedatectl"})
	}
	return out
}

// hints say what to do about a check of /readyz.
var hints = map[string]string{
	"lease":           "see peers and leader: tandem raft peers",
	"leader":          "start the voters that are down: tandem raft peers; if they are lost for good: tandem raft recover --help",
	"tokens":          "let the node reach auth.profiles[].openid_url",
	"bot":             "see apps[].bot.health_url on the node's machine",
	"certificate":     "replace the files of public.tls; the node takes them by itself",
	"outbound tokens": "see apps[].graph: token_url, client_id, and what the app proves by who it is: a secret or a certificate may have run out, a federated credential or a managed identity may not be set up; docs/identity.md",
	"stopping":        "nothing: it drains to stop",
}

func readiness(s Seen) (out []Finding) {
	for _, n := range s.answered() {
		for _, c := range n.Ready.Checks {
			if !c.OK {
				level := Fail
				if n.Ready.Ready {
					level = Warn // it is advisory
				}
				out = append(out, Finding{Level: level, Where: string(n.ID), Text: c.Name + ": " + c.Error, Do: hints[c.Name]})
			}
		}
	}
	return out
}

// firm says what to do about promises without which calls are lost, or about to be.
var firm = map[string]string{
	"claims":                   hints["leader"],
	"fenced":                   hints["lease"],
	"known-calls-routed":       hints["lease"],
	"calls-answered":           "see the readiness of that node: its bot, its tokens and keys",
	"calls-survive-their-node": "bring the other nodes back, or more of them: tandem raft peers",
	"claims-durable":           "see the disk of that node",
	"history-durable":          "see the disk of that node",
	"certificates-hold":        hints["certificate"],
	"regions-reachable":        "see what is known of them: tandem regions",
}

// soft are promises without which calls still reach their bots.
var soft = map[string]string{
	"peers-authenticated":     "set cluster.tls: tandem tls ca, tandem tls cert",
	"operators-authenticated": "set admin.tokens_file: tandem tokens first",
	"survives-one-node":       "bring a third voter: tandem join",
	"rules-agree":             "see who has others: tandem rules get",
}

func promised(s Seen) (out []Finding) {
	for _, n := range s.answered() {
		for _, p := range n.Promises {
			if p.Holds || p.Unknown {
				continue
			}
			level := Fail
			do, isSoft := soft[p.Name]
			if isSoft {
				level = Warn
			}
			out = append(out, Finding{Level: level, Where: string(n.ID), Text: p.Name + " does not hold: " + p.Why, Do: cmp.Or(do, firm[p.Name], "see what that node says of it: tandem status")})
		}
	}
	return out
}

// labels walks the samples of one metric with its labels, as they are written.
func (n Node) labels(metric string) map[string]float64 {
	out := map[string]float64{}
	for name, v := range n.Metrics {
		if rest, ok := strings.CutPrefix(name, metric+"{"); ok {
			out[strings.TrimSuffix(rest, "}")] = v
		}
	}
	return out
}

// labelled walks the samples of one metric with the value of its only label.
func (n Node) labelled(metric, label string) map[string]float64 {
	out := map[string]float64{}
	for labels, v := range n.labels(metric) {
		if value, ok := strings.CutPrefix(labels, label+`="`); ok {
			out[strings.TrimSuffix(value, `"`)] = v
		}
	}
	return out
}

// ending judges a moment at which something ends.
func ending(left time.Duration) (level Level, text string) {
	switch {
	case left <= 0:
		return Fail, fmt.Sprintf("ended %s ago", (-left).Round(time.Minute))
	case left < endsFail:
		return Fail, fmt.Sprintf("ends in %d hours", int(left.Hours()))
	case left < endsWarn:
		return Warn, fmt.Sprintf("ends in %d days", int(left.Hours()/24))
	}
	return Well, ""
}

func certificates(s Seen) (out []Finding) {
	for _, n := range s.answered() {
		for key, at := range n.labelled("tandem_certificate_not_after", "key") {
			if level, text := ending(time.Unix(int64(at), 0).Sub(s.At)); level != Well {
				out = append(out, Finding{Level: level, Where: string(n.ID), Text: "the certificate of " + key + " " + text, Do: "replace the file; the node takes it by itself"})
			}
		}
	}
	for _, p := range s.Public {
		if p.Ends.IsZero() {
			continue
		}
		if level, text := ending(p.Ends.Sub(s.At)); level != Well {
			out = append(out, Finding{Level: level, Where: p.Who, Text: "the certificate that " + p.URL + " shows " + text, Do: "replace it where TLS ends: at the balancer, or public.tls"})
		}
	}
	return out
}

func outbound(s Seen) (out []Finding) {
	for _, n := range s.answered() {
		out = append(out, federated(s.At, n)...)
		for app, failing := range n.labelled("tandem_outbound_token_failing", "app") {
			if failing > 0 {
				out = append(out, Finding{Level: Fail, Where: string(n.ID), Text: "app " + app + " gets no token to act at Graph: its calls cannot be answered", Do: hints["outbound tokens"]})
			}
		}
	}
	return out
}

// federated judges the tokens of other providers by which apps prove who they are.
func federated(at time.Time, n Node) (out []Finding) {
	const do = "see what renews apps[].graph.workload_identity.token_file: in AKS the kubelet, by the pod's projected volume"
	ends := n.labelled("tandem_federated_token_not_after", "app")
	for app, written := range n.labelled("tandem_federated_token_written_timestamp_seconds", "app") {
		age, left := at.Sub(time.Unix(int64(written), 0)), time.Unix(int64(ends[app]), 0).Sub(at)
		switch {
		case written == 0:
			out = append(out, Finding{Level: Fail, Where: string(n.ID), Text: "app " + app + " has no token file to prove by who it is", Do: do})
		case ends[app] > 0 && left <= 0:
			out = append(out, Finding{Level: Fail, Where: string(n.ID), Text: fmt.Sprintf("the token in app %s's file ended %s ago", app, (-left).Round(time.Minute)), Do: do})
		case age > tokenOld:
			out = append(out, Finding{Level: Warn, Where: string(n.ID), Text: fmt.Sprintf("app %s's token file was written %s ago", app, age.Round(time.Hour)), Do: do})
		}
	}
	return out
}

func keys(s Seen) (out []Finding) {
	for _, n := range s.answered() {
		loaded := n.labelled("tandem_token_keys_loaded_timestamp_seconds", "url")
		for url, count := range n.labelled("tandem_token_keys", "url") {
			switch age := s.At.Sub(time.Unix(int64(loaded[url]), 0)); {
			case count == 0:
				out = append(out, Finding{Level: Fail, Where: string(n.ID), Text: "it has no keys of " + url + ": no notification can be believed", Do: hints["tokens"]})
			case age > keysOld:
				out = append(out, Finding{Level: Warn, Where: string(n.ID), Text: fmt.Sprintf("its keys of %s are %s old", url, age.Round(time.Hour)), Do: hints["tokens"]})
			}
		}
	}
	return out
}

func peers(s Seen) (out []Finding) {
	led := map[ownership.Region]bool{}
	for _, n := range s.answered() {
		led[n.Region] = led[n.Region] || n.Status.Cluster.Leader != ""
		if n.Status.Cluster.Leader != n.ID {
			continue // only the leader hears from all
		}
		voters := 0
		for _, p := range n.Peers {
			if p.Voter {
				voters++
			}
			if p.Known && !p.Healthy {
				level := Warn
				if p.Voter {
					level = Fail
				}
				out = append(out, Finding{Level: level, Where: string(p.ID), Text: "the leader, " + string(n.ID) + ", does not hear from it", Do: "see its process and the way to " + p.Address})
			}
		}
		if voters < 3 {
			out = append(out, Finding{Level: Warn, Where: "region " + string(n.Region), Text: fmt.Sprintf("it has %d voters: the loss of one stops new calls", voters), Do: soft["survives-one-node"]})
		}
	}
	for region, leads := range led {
		if !leads {
			out = append(out, Finding{Level: Fail, Where: "region " + string(region), Text: "nobody leads it: new calls get no owner", Do: hints["leader"]})
		}
	}
	return out
}

func versions(s Seen) (out []Finding) {
	for _, r := range s.Regions {
		if len(r.Versions) > 1 {
			out = append(out, Finding{Level: Warn, Where: "region " + string(r.Name), Text: "its nodes run " + strings.Join(r.Versions, " and "), Do: "end the upgrade: tandem upgrade plan"})
		}
	}
	for _, n := range s.answered() {
		for labels := range n.labels("tandem_bot_version_halted") {
			f := Finding{Level: Warn, Where: "region " + string(n.Region), Text: "a version of a bot is halted, and gets no new calls: " + labels, Do: "see why: tandem rollouts list"}
			if !slices.Contains(out, f) { // each node of the region tells of it
				out = append(out, f)
			}
		}
	}
	return out
}

func drifted(s Seen) (out []Finding) {
	for _, r := range s.Regions {
		for _, d := range r.Drift {
			out = append(out, Finding{Level: Warn, Where: "region " + string(r.Name), Text: "it differs from the asked node's: " + d, Do: "make both equal: tandem regions"})
		}
	}
	return out
}

func addresses(s Seen) (out []Finding) {
	for _, p := range s.Public {
		switch {
		case p.Inner:
			out = append(out, Finding{Level: Well, Where: p.Who, Text: p.URL + " never leaves this machine: only a simulated cloud can post there"})
		case p.Err != nil:
			out = append(out, Finding{Level: Fail, Where: p.Who, Text: p.URL + ": " + p.Err.Error(),
				Do: "the cloud posts there: see DNS, the balancer, the firewall; from inside a closed network run the doctor outside, or say --no-public"})
		}
	}
	return out
}

func full(s Seen) (out []Finding) {
	for _, r := range s.Regions {
		switch {
		case r.Partial || r.Capacity == 0:
		case !r.Healthy:
			out = append(out, Finding{Level: Fail, Where: "region " + string(r.Name), Text: "it takes no new calls: " + cmp.Or(r.Error, "no leader, or no room"), Do: "tandem nodes --region " + string(r.Name)})
		case r.Live*100 >= r.Capacity*fullWarn:
			out = append(out, Finding{Level: Warn, Where: "region " + string(r.Name), Text: fmt.Sprintf("%d of %d places are taken", r.Live, r.Capacity), Do: "start more nodes, or raise node.capacity"})
		}
	}
	return out
}

// warned passes on what nodes warn of; certificates have a check of their own.
func warned(s Seen) (out []Finding) {
	for _, n := range s.answered() {
		for _, w := range n.Status.Warnings {
			if !strings.Contains(w, "its certificate") {
				out = append(out, Finding{Level: Warn, Where: string(n.ID), Text: w})
			}
		}
	}
	return out
}
