package ownership

// seat is what a node offers the calls of one app: its bot, and the room beside
// it. In a region before FormatReservations, and where a node tells nothing app
// by app, all apps share one.
type seat struct {
	shared   bool // live counts the calls of all apps: those of the standing
	missing  bool // the node names no bot of the app
	bot      bool
	load     float64
	capacity int // calls of the app that it can hold, at most the node's
	reported int // the bot's own load, in calls
	live     int // calls of the app; of a shared seat see standing.live
	share    int // calls of the app that the node takes as long as it is not full
	kept     int // of the node's free room, what is kept for the calls of other apps
	score    uint64
	bar      string // why it takes no call of any kind; empty: it may
}

// appSeats are the seats of one app, by node.
type appSeats struct {
	app   AppID
	seats []seat
}

// seatsOf returns the seats of an app. They are weighed once for a batch, and then
// after each call that takes one.
func (p *Placer) seatsOf(app AppID) []seat {
	if !p.modern {
		app = ""
	}
	for i := range p.apps {
		if p.apps[i].app == app {
			return p.apps[i].seats
		}
	}
	seats := make([]seat, len(p.nodes))
	for i := range p.nodes {
		s := &p.nodes[i]
		seats[i] = s.seatOf(app)
		if !seats[i].shared {
			seats[i].live = s.liveOf(p.view, app)
		}
	}
	p.apps = append(p.apps, appSeats{app, seats})
	for i := range seats {
		p.divide(i, app, &seats[i])
		seats[i].weigh(&p.nodes[i])
	}
	return seats
}

// keptPart of each app's share of a node is kept for it; the rest may be lent.
const keptPart = 4

// divide brings an app's part in a node's capacity up to date: an equal share, and
// beyond it what is free but for a quarter of each other app's share. So one app's
// flood leaves the others some room on each node, and has the rest while they do not
// need it. An app whose bot is not well there needs none.
func (p *Placer) divide(i int, app AppID, t *seat) {
	s := &p.nodes[i]
	if t.shared || s.capacity <= 0 || len(s.apps) < 2 {
		return
	}
	t.share, t.kept = s.capacity/len(s.apps), 0
	for other, f := range s.apps {
		if other != app && f.Bot {
			t.kept += max(0, (t.share+keptPart-1)/keptPart-p.liveOf(i, other))
		}
	}
}

// liveOf counts the calls of an app on a node, those placed in this batch too.
func (p *Placer) liveOf(i int, app AppID) int {
	for k := range p.apps {
		if p.apps[k].app == app {
			return p.apps[k].seats[i].live
		}
	}
	return p.nodes[i].liveOf(p.view, app)
}

// seatOf returns the seat of an app on the node, not yet counted and weighed.
func (s *standing) seatOf(app AppID) seat {
	if s.apps == nil {
		return newSeat(s.capacity, AppFitness{Bot: s.fit.Bot, Load: s.fit.Load, Room: s.fit.Room}, true)
	}
	f, named := s.apps[app]
	place := newSeat(s.capacity, f, false)
	place.missing = !named
	return place
}

// whole is the seat of all apps together, for what a node inherits: it has a bot
// if any app has one, it is as busy as its busiest bot, and it holds what all
// bots hold if each says how much that is.
func (s *standing) whole() seat {
	if s.apps == nil {
		return s.seatOf("")
	}
	var f AppFitness
	rooms := true
	for _, a := range s.apps {
		f.Bot = f.Bot || a.Bot
		f.Room += max(a.Room, 0)
		rooms = rooms && a.Room > 0
		if a.Load > f.Load { // false for NaN too
			f.Load = a.Load
		}
	}
	if !rooms {
		f.Room = 0
	}
	return newSeat(s.capacity, f, true)
}

func newSeat(node int, f AppFitness, shared bool) seat {
	place := seat{shared: shared, bot: f.Bot, load: f.Load, capacity: capacity(node, f.Room)}
	if f.Load > 0 { // false for NaN too
		place.reported = int(min(f.Load, 1) * float64(place.capacity))
	}
	return place
}

// capacity is the lower of the operator's limit and the one the bot reports;
// one that is not positive says nothing.
func capacity(node, bot int) int {
	if bot > 0 && (node <= 0 || bot < node) {
		return bot
	}
	return max(node, 0)
}

// weigh brings score and bar up to date with the counts.
func (t *seat) weigh(s *standing) {
	t.score = t.scoreWith(s, 0)
	switch {
	case s.state == NodeGone:
		t.bar = whyGone
	case s.state != NodeActive:
		t.bar = whyDraining
	case !s.fit.Leased:
		t.bar = whyNoLease
	case t.missing:
		t.bar = whyNoBot
	case !t.bot:
		t.bar = whySickBot
	default:
		t.bar = t.noRoom(s)
	}
}

// noRoom says why there is no room for one more call; empty: there is. The
// node's capacity binds all apps together.
func (t *seat) noRoom(s *standing) string {
	switch {
	case t.calls(s) >= t.capacity, s.capacity > 0 && s.live >= s.capacity:
		if t.shared || s.capacity > 0 && s.live >= s.capacity {
			return whyFull
		}
		return whyFullBot
	case t.kept > 0 && t.live >= t.share && s.capacity-s.live <= t.kept:
		return whyKept
	case t.load >= 1:
		return whyBusyBot
	default:
		return ""
	}
}

func (t *seat) calls(s *standing) int {
	if t.shared {
		return s.live
	}
	return t.live
}

// scoreWith is (carried + recent) ÷ capacity with extra more calls. Carried is
// the greater of what the table counts and what the bot reports, so a bot that
// reports nothing is not taken for an idle one. Recent calls count a second
// time: a call being set up costs more than one that runs, and a node that just
// came back empty is not given the whole burst. That of the app's bot counts or
// that of the whole node, whichever is higher; on a shared seat it is the bot's.
func (t *seat) scoreWith(s *standing, extra int) uint64 {
	score := ratio(max(t.calls(s), t.reported)+s.recent+extra, t.capacity)
	if !t.shared && s.capacity > 0 {
		score = max(score, ratio(s.live+s.recent+extra, s.capacity))
	}
	return score
}

func ratio(calls, capacity int) uint64 {
	return uint64(max(calls, 0)) * scoreUnit / uint64(max(capacity, 1))
}

// mayKeepGroup reports whether a node may take one more call of a group that
// lives on it. Draining it may: the group ends the drain, not the other way
// round. Without a lease it may as well: failover moves the partition, and the
// group with it. A sick bot gets no new calls, and capacity binds groups too.
func (t *seat) mayKeepGroup(s *standing) bool {
	return s.state != NodeGone && (t.bot || !s.fit.Leased) && t.noRoom(s) == ""
}
