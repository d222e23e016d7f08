package ownership

// candidates lists what the rules weighed: the winner first, then those that
// could have won by score, then the rejected ones by score; among equals by id.
// At most MaxCandidates of them are kept.
func (p *Placer) candidates(winner int) []Candidate {
	var order [MaxCandidates]int
	n := 0
	for i := range p.nodes {
		at := n
		for at > 0 && p.listedBefore(i, order[at-1], winner) {
			at--
		}
		if at == MaxCandidates {
			continue
		}
		if n < MaxCandidates {
			n++
		}
		copy(order[at+1:n], order[at:n-1])
		order[at] = i
	}
	if n == 0 {
		return nil
	}
	list := make([]Candidate, n)
	for k, i := range order[:n] {
		list[k] = Candidate{Node: p.nodes[i].id, Score: float64(p.seats[i].score) / scoreUnit, Rejected: p.why[i]}
	}
	return list
}

// listedBefore orders two nodes for the list.
func (p *Placer) listedBefore(i, j, winner int) bool {
	if i == winner || j == winner {
		return i == winner
	}
	if out, other := p.why[i] != "", p.why[j] != ""; out != other {
		return other
	}
	return p.seats[i].score < p.seats[j].score
}
