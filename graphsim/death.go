package graphsim

// NodeDied tells the oracle that a node's process ended without warning. A node
// remembers in memory what it handed to its bot, as do most bots: a repeat that
// comes after the death may reach the bot again, and counts as HandledAgain.
func (c *Cloud) NodeDied(node string) {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	deaths := c.ledger.past.deaths
	deaths[node] = append(deaths[node], c.ledger.next())
}
