package index

// Endings orders the ended calls by when they ended, so that forgetting them
// costs as much as there are to forget: a heap of plain numbers.
type Endings []Ending

// Ending is when a call ended.
type Ending struct {
	At  uint32 // Unix seconds
	Ref uint32 // see Index
}

// Put adds one.
func (h *Endings) Put(e Ending) {
	*h = append(*h, e)
	q := *h
	for i := len(q) - 1; i > 0; {
		up := (i - 1) / 2
		if q[up].At <= q[i].At {
			return
		}
		q[up], q[i] = q[i], q[up]
		i = up
	}
}

// Take returns the oldest one, if it is not after the second.
func (h *Endings) Take(until uint32) (Ending, bool) {
	q := *h
	if len(q) == 0 || q[0].At > until {
		return Ending{}, false
	}
	first, last := q[0], len(q)-1
	q[0] = q[last]
	q = q[:last]
	*h = q
	for i := 0; ; {
		down := 2*i + 1
		if down+1 < last && q[down+1].At < q[down].At {
			down++
		}
		if down >= last || q[i].At <= q[down].At {
			break
		}
		q[i], q[down] = q[down], q[i]
		i = down
	}
	if cap(q) > 1024 && len(q) < cap(q)/4 {
		*h = append(make(Endings, 0, cap(q)/2), q...) // a burst has passed
	}
	return first, true
}
