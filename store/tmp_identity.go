package store

// Identity is a stand-in until branch table has it.
func (t *Table) Identity() string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.st.facts.identity
}

// SumAt is a stand-in until branch table has it.
func (t *Table) SumAt(index uint64) (uint64, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.st.sum, t.st.applied == index
}
