package store

// endings orders the ended calls by when they ended, so that forgetting them
// costs as much as there are to forget: a heap of plain numbers.
type endings []ending

type ending struct {
	at  uint32 // Unix seconds
	ref uint32
}

func (h *endings) put(e ending) {
	*h = append(*h, e)
	q := *h
	for i := len(q) - 1; i > 0; {
		up := (i - 1) / 2
		if q[up].at <= q[i].at {
			return
		}
		q[up], q[i] = q[i], q[up]
		i = up
	}
}

// take returns the oldest one, if it is not after the second.
func (h *endings) take(until uint32) (ending, bool) {
	q := *h
	if len(q) == 0 || q[0].at > until {
		return ending{}, false
	}
	first, last := q[0], len(q)-1
	q[0] = q[last]
	q = q[:last]
	*h = q
	for i := 0; ; {
		down := 2*i + 1
		if down+1 < last && q[down+1].at < q[down].at {
			down++
		}
		if down >= last || q[i].at <= q[down].at {
			break
		}
		q[i], q[down] = q[down], q[i]
		i = down
	}
	if cap(q) > 1024 && len(q) < cap(q)/4 {
		*h = append(make(endings, 0, cap(q)/2), q...) // a burst has passed
	}
	return first, true
}
