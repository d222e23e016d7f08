package machines_test

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/admin/api"
	"tandem/graphsim"
	"tandem/ownership"
)

// lateCall finds the call in the cloud's sentence about a late answer.
var lateCall = regexp.MustCompile(`^call ([0-9a-z]+) \(.*\): (?:answered after|not answered)`)

// twoRegionsOnSixMachines is the main job where it is meant to run, on machines that
// were set up by the page that tells newcomers how.
func twoRegionsOnSixMachines(t *testing.T, w *walk) {
	s := cable(t, twoRegions)
	s.follow("../docs/first-deployment.md")
	s.ready()
	w.done("two regions of one's own")

	s.tell("8 s of calls, 10 a second, from an unkind cloud")
	s.cloud.tell(order{Run: 8 * time.Second, Rate: 10})
	eventually(t, 8*time.Second, "the middle of the load", func() string {
		if n := s.cloud.tell(order{}).Calls; n < 40 {
			return fmt.Sprintf("%d calls so far", n)
		}
		return ""
	})
	s.cloud.tell(order{Rotate: true})
	report := s.cloud.tell(order{Settle: true})
	s.report(report)
	if !report.OK() {
		t.Errorf("before any fault, a promise was broken: %s", strings.Join(report.Violations, "\n"))
	}
	if report.Redirects.Region == 0 || report.Redirects.Node == 0 || report.Relays == 0 || report.Handshakes == 0 {
		t.Error("no handshakes, redirects to a region, to a node, or relays were seen: the test shows less than it should")
	}
	s.spread(report)
	w.lap = time.Now()
	s.explained("../docs/first-deployment.md")
	w.done("a call explained")
	before := map[string]sight{}
	for _, region := range s.regions {
		before[region] = s.agree(region)
	}
	s.oneRegionOwns(before, 0)

	victim := s.follower("emea", before["emea"])
	took, atAdoption := s.killAmidCalls(victim, before["emea"])
	s.tell("the survivors own the partitions of %s %s after its death", victim.name, took.Round(time.Millisecond))
	report = s.cloud.tell(order{Settle: true})
	s.report(report)
	after := map[string]sight{}
	for _, region := range s.regions {
		after[region] = s.agree(region)
	}
	s.judge(report, atAdoption, victim, after[victim.region].placed())
	s.oneRegionOwns(after, 0)
	s.adopted(victim, before["emea"], after["emea"])
	if !reflect.DeepEqual(before["amer"].owners(), after["amer"].owners()) {
		t.Error("a death in emea changed owners in amer")
	}
	s.comeBack(victim, report)
	s.stop()
	s.ports()
}

// ports: nobody knocked at a port that is not documented.
func (s *stage) ports() {
	s.t.Helper()
	for _, m := range s.machines {
		if n := s.net.dropped(m.name); n != 0 {
			s.t.Errorf("the firewall of %s dropped %d packets: a port is used that is not documented", m.name, n)
		}
	}
	m := s.machines[0]
	knock := s.net.command(s.t.Context(), "cloud", "timeout", "0.1", "bash", "-c", "exec 3<>/dev/tcp/"+m.address+"/8471")
	if _, err := run(knock); err == nil || s.net.dropped(m.name) == 0 {
		s.t.Errorf("the firewall of %s lets the cloud in at 8471 and counts nothing: %v", m.name, err)
	}
}

// report tells what the cloud saw.
func (s *stage) report(r graphsim.Report) {
	s.t.Helper()
	s.tell("the cloud saw %d calls: %d answered, %d late; %d notifications: %d handled, %d lost, %d misrouted, %d twice; %d region and %d node redirects, %d relays, %d adopted, %d handed over again, %d retries; decision p99 %.0f ms, answer p99 %.0f ms; by node %v",
		r.Calls, r.Answered, r.AnsweredLate, r.NotificationsSent, r.NotificationsHandled, r.Lost, r.Misrouted, r.HandledTwice,
		r.Redirects.Region, r.Redirects.Node, r.Relays, r.Adopted, r.HandledAgain, r.Retries, r.DecisionMS.P99, r.AnswerMS.P99, r.CallsByNode)
}

// spread: every node has its share of the calls of its region.
func (s *stage) spread(r graphsim.Report) {
	s.t.Helper()
	for _, region := range s.regions {
		sum := 0
		for _, m := range s.of(region) {
			sum += r.CallsByNode[m.name]
		}
		for _, m := range s.of(region) {
			if share := r.CallsByNode[m.name]; share*s.each*2 < sum {
				s.t.Errorf("%s had %d of %d calls of %s: less than half of its share", m.name, share, sum, region)
			}
		}
	}
}

// oneRegionOwns: no call stands in two tables (I1), but for those where a region that was
// cut off stood in by a soft rule and the cloud took the other one's answer.
func (s *stage) oneRegionOwns(seen map[string]sight, clashed int) {
	s.t.Helper()
	owner, twice := map[ownership.CallID]string{}, []string{}
	for region, table := range seen {
		for id := range table.owned() {
			if other, both := owner[id]; both {
				twice = append(twice, fmt.Sprintf("%s in %s and %s", id, other, region))
			}
			owner[id] = region
		}
	}
	if len(twice) > clashed {
		s.t.Errorf("%d calls are owned in two regions, and the cloud refused the second answer to %d: %v", len(twice), clashed, twice)
	}
}

// follower picks a node that does not lead its region.
func (s *stage) follower(region string, seen sight) *machine {
	s.t.Helper()
	for _, m := range slices.Backward(s.of(region)) {
		if m.name != seen.leader() {
			return m
		}
	}
	s.t.Fatal("nobody follows")
	return nil
}

// killAmidCalls kills a node while it has calls, and gives how long it took
// until all survivors showed its partitions in their hands, and what the cloud
// had seen by then.
func (s *stage) killAmidCalls(victim *machine, before sight) (time.Duration, graphsim.Report) {
	s.t.Helper()
	s.cloud.tell(order{Run: 10 * time.Second, Rate: 10})
	eventually(s.t, 10*time.Second, "calls on "+victim.name, func() string {
		page, err := read[api.CallPage](victim, "calls", "--node", victim.name, "--state", "answered")
		if err != nil {
			return err.Error()
		}
		if len(page.Items) < 4 {
			return fmt.Sprintf("it has %d", len(page.Items))
		}
		return ""
	})
	victim.kill()
	s.tell("%s, a follower with live calls, was killed; %s leads", victim.name, before.leader())
	took := eventually(s.t, 15*time.Second, "new owners of the partitions of "+victim.name, func() string {
		for _, m := range s.of(victim.region) {
			all, err := read[[]ownership.Partition](m, "partitions")
			if err != nil {
				return err.Error()
			}
			for _, p := range all {
				if string(p.Owner) == victim.name {
					return fmt.Sprintf("on %s, partition %s is still its", m.name, p.ID)
				}
			}
		}
		return ""
	})
	atAdoption := s.cloud.tell(order{Targets: s.targets()})
	s.cloud.tell(order{Run: 3 * time.Second, Rate: 20}) // new calls for all who live, however late it has become
	return took, atAdoption
}

// judge: a death costs nobody else anything. A call that rang on the dead node
// may have been answered too late, as its clock may be shorter than a lease and
// the cloud's next try; every other promise holds for its calls as well.
func (s *stage) judge(r, atAdoption graphsim.Report, victim *machine, owners map[ownership.CallID]ownership.NodeID) {
	s.t.Helper()
	rest := r
	rest.AnsweredLate = 0
	if !rest.OK() {
		s.t.Errorf("a promise was broken: %s", strings.Join(r.Violations, "\n"))
	}
	named := 0
	for _, sentence := range r.Violations {
		if found := lateCall.FindStringSubmatch(sentence); found != nil && owners[ownership.CallID(found[1])] == ownership.NodeID(victim.name) {
			named++
			s.tell("the price of the death: %s", sentence)
		}
	}
	if named != r.AnsweredLate {
		s.t.Errorf("%d calls were answered late, %d of them on %s: %s", r.AnsweredLate, named, victim.name, strings.Join(r.Violations, "\n"))
	}
	if r.Adopted == 0 {
		s.t.Error("no call was seen to change its owner: the test shows less than it should")
	}
	if r.CallsByNode[victim.name] != atAdoption.CallsByNode[victim.name] {
		s.t.Errorf("%s got calls after its partitions had new owners", victim.name)
	}
	for _, m := range s.everywhere() {
		if r.CallsByNode[m.name] <= atAdoption.CallsByNode[m.name] {
			s.t.Errorf("%s got no call after %s had died", m.name, victim.name)
		}
	}
}

// adopted: the partitions of the dead node belong to both survivors, with a
// higher epoch, and the others are where they were.
func (s *stage) adopted(victim *machine, before, after sight) {
	s.t.Helper()
	by := map[ownership.NodeID]int{}
	now := after.owners()
	for id, was := range before.owners() {
		is, ok := now[id]
		switch {
		case !ok:
			s.t.Errorf("partition %s is no more", id)
		case string(was.Owner) != victim.name && !reflect.DeepEqual(is, was):
			s.t.Errorf("partition %s of %s was changed: owner %s, epoch %s", id, was.Owner, is.Owner, is.Epoch)
		case string(was.Owner) == victim.name:
			by[is.Owner]++
			if is.Epoch <= was.Epoch {
				s.t.Errorf("partition %s was adopted by %s without a higher epoch: %s after %s", id, is.Owner, is.Epoch, was.Epoch)
			}
		}
	}
	if by[ownership.NodeID(victim.name)] != 0 || len(by) != s.each-1 {
		s.t.Errorf("the partitions of %s belong to %v, not to both survivors", victim.name, by)
	}
	s.tell("the partitions of %s were adopted: %v", victim.name, by)
}

// comeBack starts the dead node again: it finds that its calls are others' now,
// partitions are born on it, and it takes new calls.
func (s *stage) comeBack(victim *machine, before graphsim.Report) {
	s.t.Helper()
	victim.start()
	took := eventually(s.t, 20*time.Second, "partitions of "+victim.name+" in its own table", func() string {
		seen, err := victim.inspect()
		if err != nil {
			return err.Error()
		}
		for _, p := range seen.partitions {
			if string(p.Owner) == victim.name && string(p.BornOn) == victim.name && p.Epoch == 1 && int(p.ID) > s.each*8 {
				return ""
			}
		}
		return "none was born"
	})
	s.tell("%s came back; partitions were born on it after %s", victim.name, took.Round(time.Millisecond))
	s.cloud.tell(order{Targets: s.targets()})
	s.cloud.tell(order{Run: 3 * time.Second, Rate: 20})
	report := s.cloud.tell(order{Settle: true})
	s.report(report)
	if report.Lost != before.Lost || report.Misrouted != before.Misrouted || report.AnsweredLate != before.AnsweredLate || report.HandledTwice != before.HandledTwice {
		s.t.Errorf("a promise was broken: %s", strings.Join(report.Violations, "\n"))
	}
	if report.CallsByNode[victim.name] <= before.CallsByNode[victim.name] {
		s.t.Errorf("%s got no call after it had come back", victim.name)
	}
	s.agree(victim.region)
}
