package faultrig

import (
	"context"
	"time"

	"tandem/admin/api"
	"tandem/faultrig/fleet"
	"tandem/graphsim"
	"tandem/ownership"
)

// Of F74.
const (
	recordedCalls = 60
	forgottenIn   = 75 * time.Second // a leader drops tombstones each half a minute
)

// ledgerScenarios hold the region's ledger against what the cloud has recorded.
func ledgerScenarios() []Scenario {
	return []Scenario{{
		Fault: "F74", Title: "kill -9 a node whose calls have ended: the ledger against the cloud's records", Claims: -1, Apart: true,
		Fleet: fleet.Options{Rates: &graphsim.Rates{}, Tombs: time.Second, Timings: graphsim.Timings{TalkMax: time.Second}}, Round: lostEntries,
	}}
}

// lostEntries: calls end, a node is killed, and what the region knows of them is the
// ledger's alone. Asked of that node, nothing is lacking that the cloud has recorded.
func lostEntries(ctx context.Context, s *Stage) error {
	// The ledger begins when all nodes have said what they read.
	if err := fleet.Insist(ctx, func() error { return s.Nodes[0].API.SetLedgerKeep(ctx, keptFor) }); err != nil {
		return err
	}
	begun := time.Now().Add(-time.Minute)
	if err := s.Cloud.Run(ctx, graphsim.Load{Rate: 20, MaxCalls: recordedCalls}); err != nil {
		return err
	}
	if err := s.Cloud.Settle(ctx); err != nil {
		return err
	}
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	victim := s.Others(leader)[0]
	victim.Kill()
	if err := s.bringBack(ctx, victim); err != nil {
		return err
	}
	known := -1
	if !fleet.Until(ctx, forgottenIn, 500*time.Millisecond, func() bool {
		page, err := victim.API.Calls(ctx, ownership.CallFilter{}, "", 1)
		if err == nil {
			known = len(page.Items)
		}
		return known == 0
	}) {
		s.Break("calls that ended more than %s ago are still in the table", forgottenIn)
		return nil
	}
	var told api.Reconciled
	if err := fleet.Insist(ctx, func() (err error) {
		told, err = victim.API.ReconcileLedger(ctx, api.ReconcileAsk{Since: begun, Until: time.Now().Add(time.Minute)})
		return err
	}); err != nil {
		return err
	}
	if n := len(told.Unknown) + told.Others; n > 0 {
		s.Break("I3: of %d calls that the cloud has recorded %d are not in the ledger, such as %s", told.Records, n, told.Unknown[0].ID)
	}
	if told.Records == 0 {
		s.Break("the cloud has recorded no call")
	}
	s.Note("%d records of the cloud, %d known", told.Records, told.Known)
	return nil
}
