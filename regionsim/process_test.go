package regionsim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tandem/bot"
	"tandem/cluster"
	"tandem/cluster/clocks"
	"tandem/ownership"
	"tandem/store"
	"tandem/token"
	"tandem/webhook"
)

// process is one run of a node: the rooms as the node room wires them.
type process struct {
	r    *region
	id   ownership.NodeID
	run  int // the how manieth process of the simulation
	host string
	dir  string
	card *card
	disk disk
	bot  *fakeBot

	st         *store.Store
	cl         atomic.Pointer[cluster.Cluster]
	dispatcher *bot.Dispatcher
	door       *webhook.Handler

	opened   chan struct{}
	closing  chan struct{}
	adopting sync.WaitGroup
	ended    atomic.Pointer[error] // why it cannot go on
	seen     uint64                // index of its table when the oracle looked last
}

// handledFile keeps what the dispatcher knows over a stop in order.
const handledFile = "desk.json"

const (
	regionName = "emea"
	regionURL  = "https://emea.sim.example"
	hookPath   = "/api/calls"
)

func publicURL(id ownership.NodeID) string { return "https://" + string(id) + ".sim.example" }

// launch starts a process on the data in dir.
func (r *region) launch(id ownership.NodeID, host, dir string) (_ *process, err error) {
	p := &process{
		r: r, id: id, run: int(r.runs.Add(1)), host: host, dir: dir, card: r.net.plug(host),
		opened: make(chan struct{}), closing: make(chan struct{}),
	}
	p.bot = newBot(p)
	defer func() {
		if err != nil {
			p.card.fall(false)
		}
	}()
	log := r.log.With("node", string(id), "run", p.run)
	p.st, err = store.Open(dir, store.Stamp{Deployment: "sim", Region: regionName, Node: id},
		store.Options{Logger: log, SegmentBytes: 256 << 10, OnFatal: p.fatal})
	if err != nil {
		return nil, err
	}
	if err := p.openDesk(); err != nil {
		return nil, errors.Join(err, p.st.Close())
	}
	cfg := cluster.Config{
		Deployment: "sim", Region: regionName, Listen: host + ":7000", Join: r.addrs(), JoinByCertificate: true, Logger: log, Partitions: 8,
		Node: ownership.Node{ID: id, Capacity: 10000, Version: "sim", PublicURL: r.publicURL(id)},
		Apps: []ownership.AppID{appMovable, appHosted}, Silence: func(ownership.AppID) time.Duration { return r.silence },
		SnapshotAfter: r.keep, KeepLog: r.keep / 4, Timings: clocks.Timings{SnapshotEvery: r.snapshots},
		Ground: cluster.Ground{Listen: p.card.Listen, Dial: p.card.Dial, Log: p.disk.Log, Table: p.disk.Table},
	}
	if older, first := r.older.LoadAndDelete(id); first {
		cfg.Node.Format = older.(uint32)
	}
	cl, err := cluster.Start(context.Background(), cfg, p.st, cluster.Deps{
		HandOver: p.relayed, Health: p.health, OnReassigned: p.reassigned, Quiesce: p.dispatcher.Quiesce, Fatal: p.fatal,
		Memory: p.dispatcher.MemoryOf,
		Recall: func(id ownership.PartitionID, memory []byte) {
			if err := p.dispatcher.RecallOf(id, memory); err != nil {
				r.t.Errorf("%s: taking over a memory: %v", p, err)
			}
		},
	})
	if err != nil {
		return nil, errors.Join(err, p.dispatcher.Close(context.Background()), p.st.Close())
	}
	p.cl.Store(cl)
	return p, p.openDoor(cl)
}

func (p *process) openDesk() (err error) {
	p.dispatcher, err = bot.New(bot.Config{
		Node: p.id, Logger: p.r.log.With("node", string(p.id), "run", p.run),
		Apps: []bot.App{
			{ID: appMovable, Answer: bot.AnswerByRouter, AnswerWith: answerWith, Bot: p.bot, Graph: graphDoor{p}, Timeout: 4 * time.Second},
			{ID: appHosted, Pinned: true, Answer: bot.AnswerByBot, Bot: p.bot, Graph: graphDoor{p}, Timeout: 4 * time.Second},
		},
		Leased: func() bool { return ledger{p}.open() && p.cl.Load().Leased() },
	}, ledger{p})
	if err != nil {
		return err
	}
	file := filepath.Join(p.dir, handledFile)
	text, err := os.ReadFile(file)
	if err != nil {
		return nil //nolint:nilerr // a first start, or one after a crash
	}
	var m bot.Memory
	if err := json.Unmarshal(text, &m); err != nil {
		return err
	}
	p.dispatcher.Recall(m)
	return os.Remove(file)
}

func (p *process) openDoor(cl *cluster.Cluster) (err error) {
	p.door, err = webhook.New(webhook.Config{
		Path: hookPath, Region: regionName, Node: p.id, PublicURL: p.r.publicURL(p.id), RegionURL: regionURL,
		Apps:           []webhook.App{{ID: appMovable}, {ID: appHosted, Pinned: true}},
		RedirectStatus: http.StatusFound, Midcall: webhook.MidcallRelay, BodyLimit: 1 << 20, HandOver: 5 * time.Second,
	}, webhook.Deps{Tokens: tokens{}, Table: table{cl, p}, Dispatcher: p.dispatcher, Regions: regions{}, Handles: p.r.handles})
	if err == nil {
		close(p.opened)
	}
	return err
}

func (p *process) dead() bool { return p.card.isDead() }

func (p *process) fatal(err error) {
	if p.dead() {
		return
	}
	if p.ended.CompareAndSwap(nil, &err) {
		p.r.tell("%s ends: %v", p, err)
	}
}

func (p *process) String() string { return fmt.Sprintf("%s#%d", p.id, p.run) }

func (p *process) relayed(ctx context.Context, h ownership.HandOver) (ownership.Reply, error) {
	select {
	case <-p.opened:
		return p.door.HandOver(ctx, h)
	default:
		return ownership.Reply{}, fmt.Errorf("taking a relayed notification: this node is still starting: %w", ownership.ErrFenced)
	}
}

func (p *process) health() cluster.Health {
	apps := p.dispatcher.Health()
	well, load, room := bot.Worst(apps)
	return cluster.Health{Bot: well, Load: load, Room: room, Live: p.st.Table().Live(p.id), Apps: apps}
}

// reassigned is the node room's: the dispatcher compares what it has with the table.
func (p *process) reassigned(ch cluster.Change) {
	p.adopting.Go(func() {
		select {
		case <-p.opened:
		case <-p.closing:
			return
		}
		for _, m := range ch.Got {
			p.look(m.Partition)
		}
		for _, id := range ch.Look {
			p.look(id)
		}
		for _, m := range ch.Lost {
			p.dispatcher.Look(bot.Sight{Partition: m.Partition})
		}
	})
}

func (p *process) look(id ownership.PartitionID) {
	sight := bot.Sight{Partition: id, URI: func(c ownership.Call) string {
		return p.door.CallbackURI(c.Partition, c.Epoch, string(c.ID))
	}}
	if part, ok := p.st.Table().Partition(id); ok && part.Owner == p.id && !part.Retired {
		sight.Epoch = part.Epoch
	}
	calls, _, err := p.st.Table().Calls(ownership.CallFilter{Partition: id}, "", 0)
	if err != nil {
		p.r.log.Error("listing the calls of a partition", "err", err)
		return
	}
	calls = slices.DeleteFunc(calls, func(c ownership.Call) bool { return c.State == ownership.CallEnded })
	sight.Calls = slices.Values(calls)
	p.dispatcher.Look(sight)
}

// closeRooms ends the process's goroutines, in the order of the node room.
func (p *process) closeRooms(ctx context.Context, inOrder bool) error {
	close(p.closing)
	grace, cancel := context.WithTimeout(ctx, 3*time.Second)
	err := p.dispatcher.Close(grace)
	cancel()
	if inOrder {
		text, wrong := json.Marshal(p.dispatcher.Memory())
		err = errors.Join(wrong, os.WriteFile(filepath.Join(p.dir, handledFile), text, 0o600))
	}
	if wrong := p.cl.Load().Stop(ctx); wrong != nil && inOrder {
		p.r.tell("%s: %v", p, wrong) // a node behind a cut cannot say goodbye
	}
	p.adopting.Wait()
	return errors.Join(err, p.st.Close())
}

// stop stops the process in order, as SIGTERM does.
func (p *process) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // raft must have ended before its log is closed
	defer cancel()
	if err := p.closeRooms(ctx, true); err != nil {
		p.r.tell("%s: stopping: %v", p, err)
	}
	p.card.fall(false)
}

// crash ends the process between two instructions. Its goroutines cannot be
// stopped in a bubble: they lose their network, their bot and their directory, of
// which the copy that is given back is what a next process finds.
func (p *process) crash(silent bool) (dir string) {
	dir = p.r.newDir(p.id)
	p.r.still(func() {
		if err := copyDisk(p.dir, dir); err != nil {
			p.r.t.Errorf("copying the disk of %s: %v", p, err)
		}
		p.card.fall(silent)
	})
	p.r.after.Go(func() {
		p.disk.let()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = p.closeRooms(ctx, false)
		_ = os.RemoveAll(p.dir)
	})
	return dir
}

// ledger is the dispatcher's view of the cluster, which opens after the dispatcher.
type ledger struct{ p *process }

func (l ledger) open() bool {
	select {
	case <-l.p.opened:
		return true
	default:
		return false
	}
}

// Do implements bot.Ledger.
func (l ledger) Do(ctx context.Context, act ownership.Act) (*ownership.Outcome, error) {
	if !l.open() {
		return nil, ownership.ErrNoLeader
	}
	out, err := l.p.cl.Load().Do(ctx, act)
	if errors.Is(err, ownership.ErrGone) || errors.Is(err, cluster.ErrStopped) {
		err = fmt.Errorf("%w: %w", bot.ErrOver, err)
	}
	return out, err
}

// Holds implements bot.Ledger.
func (l ledger) Holds(call ownership.CallID, id ownership.PartitionID, e ownership.Epoch) bool {
	return l.open() && l.p.cl.Load().Holds(call, id, e)
}

// Owns implements bot.Ledger.
func (l ledger) Owns(call ownership.CallID, id ownership.PartitionID, e ownership.Epoch) bool {
	return l.open() && l.p.cl.Load().Owns(call, id, e)
}

// Find implements bot.Ledger.
func (l ledger) Find(call ownership.CallID) (ownership.Known, bool) {
	if !l.open() {
		return ownership.Known{}, false
	}
	return l.p.cl.Load().Find(call)
}

// table is the cluster with an ear for acknowledged claims.
type table struct {
	*cluster.Cluster
	p *process
}

// Claim implements webhook.Table.
func (t table) Claim(ctx context.Context, c ownership.Claim) (ownership.Placement, error) {
	place, err := t.Cluster.Claim(ctx, c)
	if err == nil && !t.p.dead() {
		t.p.r.oracle.acknowledged(t.p, c.Call, place)
	}
	return place, err
}

type tokens struct{}

// Verify implements webhook.Tokens: the token is the name of its app.
func (tokens) Verify(_ context.Context, h http.Header) (token.Claims, error) {
	return token.Claims{App: h.Get("Authorization"), Tenant: tenant}, nil
}

// Look implements webhook.Tokens.
func (k tokens) Look(ctx context.Context, h http.Header) (token.Claims, error) {
	return k.Verify(ctx, h)
}

type regions struct{}

// Alone implements webhook.Regions.
func (regions) Alone() bool { return true }

// Look implements webhook.Regions.
func (regions) Look(ownership.Region, ownership.AppID) webhook.Prospect { return webhook.Prospect{} }

// Relay implements webhook.Regions: there is nobody else.
func (regions) Relay(context.Context, ownership.Region, ownership.PartitionID, ownership.Letter) (ownership.Reply, error) {
	return ownership.Reply{}, ownership.ErrNotTaken
}

// Knowing implements webhook.Regions.
func (regions) Knowing(context.Context, []ownership.CallID) (map[ownership.CallID]ownership.Region, error) {
	return nil, nil
}

// Healthy implements webhook.Regions.
func (regions) Healthy(ownership.Region) bool { return true }

// URL implements webhook.Regions.
func (regions) URL(ownership.Region) (string, bool) { return regionURL, true }
