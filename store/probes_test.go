package store

// Counts are the numbers of things in the table.
type Counts struct {
	Nodes      int
	Partitions int // without retired ones
	Calls      int // in any state
	Live       int // those that a node acts for
	Pending    int // records that wait for the file
	Applied    uint64
	Durable    uint64
}

// Counts returns the numbers of things in the table.
func (t *Table) Counts() Counts {
	t.mu.RLock()
	defer t.mu.RUnlock()
	c := Counts{Nodes: len(t.st.nodes), Pending: t.pending(), Applied: t.st.applied, Durable: t.disk.applied}
	for _, p := range t.st.parts {
		c.Calls += p.calls
		c.Live += int(p.live.Load())
		for i := range p.rec.Reserved {
			c.Live += t.st.reservedLive(&p.tally, &p.rec.Reserved[i])
		}
		if !p.rec.Retired {
			c.Partitions++
		}
	}
	return c
}

// Flush waits until table.db holds, with fsync, every act that the table held
// when it was called.
func (t *Table) Flush() error {
	t.mu.RLock()
	target := t.st.applied
	t.mu.RUnlock()
	for {
		t.mu.RLock()
		held, closed, err, again := t.disk.applied, t.closed, t.flushErr, t.flushed
		t.mu.RUnlock()
		if stop := t.stopped.Load(); stop != nil {
			return *stop
		}
		switch {
		case held >= target:
			return nil
		case err != nil:
			return err
		case closed:
			return ErrClosed
		}
		poke(t.urgent)
		select {
		case <-again:
		case <-t.dead:
		}
	}
}
