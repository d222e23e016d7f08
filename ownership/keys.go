package ownership

import "strings"

// The kinds of group keys, in the order in which they bind: a call chain is one
// conversation, a thread is one meeting, a transferor one hand-off.
const (
	kindChain      = "chain:"
	kindThread     = "thread:"
	kindTransferor = "transferor:"
)

// ChainKey is the key of calls with one call chain id. The payload's
// callChainId, Scenario-Id and X-Microsoft-Skype-Chain-ID carry the same value.
func ChainKey(id string) GroupKey { return GroupKey(kindChain + id) }

// ThreadKey is the key of calls in one chat thread, which is one meeting.
func ThreadKey(id string) GroupKey { return GroupKey(kindThread + id) }

// TransferorKey is the key of calls that one participant transferred.
func TransferorKey(id string) GroupKey { return GroupKey(kindTransferor + id) }

// rank orders keys by how strongly they bind; lower binds more.
func (k GroupKey) rank() int {
	switch {
	case k.IsChain():
		return 0
	case strings.HasPrefix(string(k), kindThread):
		return 1
	case strings.HasPrefix(string(k), kindTransferor):
		return 2
	default:
		return 3
	}
}

// IsChain reports whether the key is that of a call chain.
func (k GroupKey) IsChain() bool { return strings.HasPrefix(string(k), kindChain) }

// Chain returns the cloud's callChainId, if that is what the calls of the group share.
func (k GroupKey) Chain() (string, bool) { return strings.CutPrefix(string(k), kindChain) }
