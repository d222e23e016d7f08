package graphsim

import (
	"maps"
	"time"
)

// Fate is what the cloud knows of a call, to hold a router's own records
// against it.
type Fate struct {
	App        string
	Near       string    // the region that its caller is near
	Landed     string    // the region whose node its first notification was posted to first
	Region     string    // of the callback URI that it was answered with
	RangAt     time.Time // the first POST about it began; zero: none did
	Claimed    bool      // its first notification was answered with 2xx
	AnsweredAt time.Time // the cloud took an answer; zero: none
	HungUp     bool      // its caller hung up while it rang
	OverAt     time.Time // the cloud knows it no more since; zero: it lives
	Told       bool      // its end was told, and answered with 2xx
}

// Fates returns the fate of every call by its normalised id. Those that ended long
// ago are among them with Config.Remember only.
func (c *Cloud) Fates() map[string]Fate {
	l := c.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	all := maps.Clone(l.fates)
	for _, k := range l.order {
		all[k.id] = k.fate()
	}
	return all
}

func (k *call) fate() Fate {
	f := Fate{App: k.app.ID, Near: k.origin.Near, Landed: k.landed, Region: k.home, RangAt: k.firstPost, HungUp: k.hungUp, AnsweredAt: k.answeredAt, Told: k.end != nil && k.end.okSeq != 0}
	if k.over {
		f.OverAt = k.overSince
	}
	for _, n := range k.notices {
		f.Claimed = f.Claimed || n.first && n.okSeq != 0
	}
	return f
}
