package node

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/graphsim"
	"tandem/graphsim/machine"
	evidence "tandem/ledger"
	"tandem/ownership"
)

// TestAnnouncedMaintenance: a node follows what its machine announces. Before a freeze it
// takes no new calls, and its region is told to wait; afterwards all is as before. Before a
// reboot it drains, lets the reboot begin when no call is left, and takes calls again when
// it is back. Another machine's events, and an operator's drain, are none of its business.
func TestAnnouncedMaintenance(t *testing.T) {
	long(t, "it takes 9 s")
	t.Parallel()
	vm, err := machine.Start(t.Context(), machine.Config{Name: "emea-vm_1"})
	must(t, err)
	defer vm.Close()
	s := deploy(t, plan{nodes: 2, shape: func(x *seat, c *Config) {
		if x.name == "emea-2" {
			c.Node.Maintenance = Maintenance{Azure: true, Approve: true}
			c.Azure.MetadataURL = vm.URL()
		}
	}})
	x := s.seat("emea-2")
	state := func(want ownership.NodeState, forced bool) {
		t.Helper()
		eventually(t, "the state "+want.String(), func() error {
			n, err := s.seats[0].api().Node(t.Context(), x.id())
			return not(err == nil && n.State == want && !n.DrainBy.IsZero() == forced, "%v, %v, %v", n.State, n.DrainBy, err)
		})
	}
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }

	vm.Announce(machine.Event{ID: "of-another", EventType: "Terminate", Resources: []string{"emea-vm_2"}, NotBefore: in(time.Minute)})
	vm.Announce(machine.Event{ID: "freeze-1", EventType: "Freeze", NotBefore: in(15 * time.Minute), DurationInSeconds: 9, Description: "Host server is undergoing maintenance."})
	state(ownership.NodeDraining, false)
	leases := func() time.Duration { return x.node.health().Away }
	if away := leases(); away < 20*time.Minute || away > 26*time.Minute {
		t.Errorf("its region is told to wait for %s", away)
	}
	if w := strings.Join(x.status().Warnings, "\n"); !strings.Contains(w, "takes no new calls: Azure announces Freeze of this machine (event freeze-1") {
		t.Errorf("status warns of %s", w)
	}
	r := s.run(graphsim.Load{Rate: 40, MaxCalls: 8})
	s.kept(r)
	if r.CallsByNode["emea-2"] > 0 || r.CallsByNode["emea-1"] == 0 {
		t.Errorf("calls went to %v", r.CallsByNode)
	}
	eventually(t, "the approval of the freeze", func() error { // no call is left
		return not(slices.Contains(vm.Begun(), "freeze-1"), "%v", vm.Begun())
	})
	vm.End("freeze-1")
	state(ownership.NodeActive, false)
	eventually(t, "that what is over is not told on", func() error {
		w := strings.Join(x.status().Warnings, "\n")
		return not(leases() == 0 && !strings.Contains(w, "Azure"), "%s, %s", leases(), w)
	})

	vm.Announce(machine.Event{ID: "reboot-1", EventType: "Reboot", NotBefore: in(10 * time.Minute)})
	state(ownership.NodeDraining, true)
	eventually(t, "the approval of the reboot", func() error { return not(slices.Contains(vm.Begun(), "reboot-1"), "%v", vm.Begun()) })
	x.stop()
	vm.End("reboot-1")
	x.start()
	s.ready(x)
	state(ownership.NodeActive, false)

	must(t, x.api().Drain(t.Context(), x.id(), time.Time{}))
	vm.Announce(machine.Event{ID: "reboot-2", EventType: "Reboot", NotBefore: in(10 * time.Minute)})
	asked := vm.Asked("/metadata/scheduledevents")
	eventually(t, "a look at the event", func() error { return not(vm.Asked("/metadata/scheduledevents") > asked+1, "none") })
	vm.End("reboot-2")
	asked = vm.Asked("/metadata/scheduledevents")
	eventually(t, "a look without it", func() error { return not(vm.Asked("/metadata/scheduledevents") > asked+1, "none") })
	state(ownership.NodeDraining, false)
	if slices.Contains(vm.Begun(), "of-another") {
		t.Error("another machine's maintenance was approved")
	}
	page, err := x.api().Ledger(t.Context(), evidence.Filter{}, 0, 100, false)
	must(t, err)
	text, err := json.Marshal(page)
	must(t, err)
	for _, cause := range []string{"Azure announces Freeze of this machine (event freeze-1", "event reboot-1", "what Azure announced of this machine is over"} {
		if !strings.Contains(string(text), cause) {
			t.Errorf("the ledger does not say %q: %s", cause, text)
		}
	}
}
