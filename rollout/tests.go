package rollout

import (
	"math"

	"tandem/ownership"
)

// The tests' chances to halt a good version ever, in a window of calls.
const (
	fastAlpha = 2e-4
	slowAlpha = 1e-4
	// provenAlpha is the chance to call a version proven whose share of failures is
	// beyond what is allowed: the bound ends then, the tests do not.
	provenAlpha = 0.02
)

// leastProven is how many of a version's calls must have ended at the least.
const leastProven = 20

// leastKnown is of how many of the others' calls one must know the length before short ones
// say anything: nobody knows beforehand how long an app's calls are.
const leastKnown = 20

// share is a count of calls, some of them marked.
type share struct{ marked, all float64 }

func failures(t *ownership.VersionTally) share {
	return share{float64(t.Bad), float64(t.Bad + t.Well + t.Short)}
}

func shorts(t *ownership.VersionTally) share {
	return share{float64(t.Short), float64(t.Well + t.Short)}
}

// The prior is what is believed of the others before they have told anything: one failure in
// thirty calls.
const priorMarked, priorAll = 1, 30

// upper is a bound of the true share: z standard errors above the mean.
func (s share) upper(z float64) float64 {
	n := s.all + priorAll
	p := (s.marked + priorMarked) / n
	return min(p+z*math.Sqrt(p*(1-p)/n), 1)
}

// mostly reports whether the calls are marked more often than not, of enough of them.
func (s share) mostly() bool { return s.all >= leastKnown && 2*s.marked > s.all }

// paces are the two tests: null is the worst share that is still no worse than the others',
// by their bound of z, and alternatives are mixed with equal weights.
var paces = []struct {
	z, factor, plus float64
	alternatives    []float64 // between the null (0) and 1
	alpha           float64
}{
	{1.5, 1.5, 0.01, []float64{1, 1, 0.5, 0.25}, fastAlpha},
	{4, 1.15, 0.02, []float64{0.02, 0.05, 0.1, 0.2, 0.4}, slowAlpha},
}

// worse reports whether a share is surely above the others'. slack widens what is no worse.
func (s share) worse(others share, slack float64) bool {
	for _, p := range paces {
		null := p.factor*others.upper(p.z) + p.plus + slack
		if null >= 0.9 {
			continue // nobody could be much worse
		}
		var qs []float64
		for _, a := range p.alternatives {
			qs = append(qs, null+a*(1-null))
		}
		if s.mixture(null, qs) >= -math.Log(p.alpha) {
			return true
		}
	}
	return false
}

// fine reports whether a share is surely below the most that is allowed beside the others'.
func (s share) fine(others share, least, slack float64) bool {
	most := max(least, 2*others.upper(1.5)+slack)
	if most >= 0.9 {
		return true // the others' is no better
	}
	return s.mixture(most, []float64{0.05 * most, 0.3 * most, 0.6 * most}) >= -math.Log(provenAlpha)
}

// mixture is the logarithm of the likelihood of the share, mixed over the alternatives,
// above that under the null.
func (s share) mixture(null float64, alternatives []float64) float64 {
	top, terms := math.Inf(-1), make([]float64, len(alternatives))
	for i, q := range alternatives {
		terms[i] = ratio(s.marked, q, null) + ratio(s.all-s.marked, 1-q, 1-null)
		top = max(top, terms[i])
	}
	if math.IsInf(top, -1) {
		return top
	}
	var sum float64
	for _, t := range terms {
		sum += math.Exp(t - top)
	}
	return top + math.Log(sum/float64(len(terms)))
}

// ratio is n·log(q/p), and 0 for no calls whatever q is.
func ratio(n, q, p float64) float64 {
	if n == 0 {
		return 0
	}
	return n * math.Log(q/p)
}

// Worse says in words why a version is worse than the others, by what became of its calls
// and of theirs; empty: it is not, as far as one can know.
func Worse(mine, others *ownership.VersionTally) string {
	if failures(mine).worse(failures(others), 0) {
		return sentence("ended badly"+lastly(mine.Code), failures(mine), failures(others))
	}
	if shorts(others).all >= leastKnown && shorts(mine).worse(shorts(others), 0.04) {
		return sentence("ended within seconds of the answer", shorts(mine), shorts(others))
	}
	return ""
}

// Proven reports whether enough of a version's calls have ended as the others' do.
func Proven(mine, others *ownership.VersionTally) bool {
	return mine.Well+mine.Short+mine.Bad >= leastProven &&
		failures(mine).fine(failures(others), 0.12, 0.03) && shorts(mine).fine(shorts(others), 0.3, 0.1)
}
