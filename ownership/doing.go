package ownership

import "fmt"

// Doing says in people's words what an act does, as the beginning of an error's
// sentence: "draining node emea-2".
func Doing(a Act) string {
	switch a := a.(type) {
	case Claims:
		return "claiming calls"
	case Answered:
		return fmt.Sprintf("noting the answer of call %s", a.Call)
	case Seen:
		return "noting which calls the cloud still knows"
	case Release:
		return fmt.Sprintf("releasing call %s", a.Call)
	case TakeUp:
		return fmt.Sprintf("taking up call %s", a.Call)
	case Records:
		return "noting what happened to calls"
	case Forget:
		return "forgetting ended calls"
	case Join:
		return fmt.Sprintf("taking in node %s", a.Node.ID)
	case Found:
		return "founding the region"
	case SetLease:
		return fmt.Sprintf("setting the length of leases to %s", a.Length)
	case Drain:
		return fmt.Sprintf("draining node %s", a.Node)
	case Undrain:
		return fmt.Sprintf("ending the drain of node %s", a.Node)
	case Depart:
		return fmt.Sprintf("taking node %s out", a.Node)
	case Failover:
		return fmt.Sprintf("giving the partitions of node %s to others", a.Node)
	case Lapse:
		return fmt.Sprintf("ending the wait for node %s", a.Node)
	case Reclaim:
		return fmt.Sprintf("giving node %s back what lapsed", a.Node)
	case Move:
		return fmt.Sprintf("moving partition %s to node %s", a.Partition, a.To)
	case SetFormat:
		return fmt.Sprintf("raising the command format to %d", a.Format)
	case GrantToken:
		return fmt.Sprintf("making the token %q", a.Token.Name)
	case UseToken:
		return fmt.Sprintf("using the token %q", a.Name)
	case RevokeToken:
		return fmt.Sprintf("revoking the token %q", a.Name)
	case Note:
		return fmt.Sprintf("entering %s by %s into the ledger", a.Action, a.By)
	case SetKeep:
		return fmt.Sprintf("keeping the ledger for %d days", a.Keep.Days)
	case SetDeposit:
		return fmt.Sprintf("depositing %q", a.Name)
	case SetRollout:
		return fmt.Sprintf("setting the rule for version %s of app %s", a.Rollout.Version, a.Rollout.App)
	case EndRollout:
		return fmt.Sprintf("ending the rule for version %s of app %s", a.Version, a.App)
	case TellRollout:
		return "telling of a version"
	case SetRules:
		return "setting the rules"
	case TellRules:
		return "taking over another region's rules"
	}
	return "changing the table"
}
