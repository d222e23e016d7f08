// Package rulebook says which rules are in force at this node, and carries them: what
// the region's table holds is compiled as soon as it is applied, what another region
// has that is newer is taken over, and where somebody has other rules for longer than a
// change takes to travel, an operator hears of it.
package rulebook

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/ownership"
	"tandem/policy"
)

// The shipped timings.
const (
	DefaultEvery    = time.Second
	DefaultPatience = 10 * time.Second
)

// Table is where the region's versions stand, oldest first.
type Table interface {
	Rules() []ownership.Rules
	// RulesChanged gets a ping after each change. The book is its only reader.
	RulesChanged() <-chan struct{}
}

// Mark tells rules apart. Of number 0, which is what the configuration says, the digest
// is that of the region rules alone: pins name nodes, which differ by region.
type Mark struct {
	Number uint64 `json:"number"`
	Digest string `json:"digest"`
}

// Others are the other regions.
type Others interface {
	// Marks returns what was last heard of each that is well.
	Marks() map[ownership.Region]Mark
	// Fetch returns the newest version of one.
	Fetch(context.Context, ownership.Region) (ownership.Rules, error)
}

// Holding is what one node has in force.
type Holding struct {
	Mark
	Trouble string `json:"trouble,omitempty"` // why these are not the newest that its table holds
	Error   string `json:"error,omitempty"`   // why it could not be asked; the rest says nothing then
}

// Config says what the book works with.
type Config struct {
	Region ownership.Region
	Table  Table
	File   *policy.Compiled                                   // the configuration's, in force until rules were set
	Leads  func() bool                                        // this node leads its region: it takes rules over
	Do     func(context.Context, ownership.Act) error         // has the region apply an act
	Nodes  func(context.Context) map[ownership.NodeID]Holding // asks all nodes of the region
	Others Others

	Every    time.Duration    // from one look at the others to the next; 0: DefaultEvery
	Patience time.Duration    // how long rules may differ before it is told; 0: DefaultPatience
	Now      func() time.Time // nil: time.Now
	Logger   *slog.Logger     // nil: slog.Default
	Metrics  prometheus.Registerer
}

// Book is safe for concurrent use.
type Book struct {
	cfg  Config
	stop context.CancelFunc
	done sync.WaitGroup

	mu      sync.Mutex
	use     func(*policy.Compiled) // puts rules in force; nil: nobody asks yet
	now     *policy.Compiled       // in force
	mark    Mark                   // of it
	newest  Mark                   // of the table
	trouble string                 // why newest is not in force
	told    bool                   // that the configuration's rules are not used
	differ  map[string]*difference
}

// Open takes in what the table holds by now, and follows it until Close.
func Open(ctx context.Context, cfg Config) (*Book, error) {
	if cfg.Every <= 0 {
		cfg.Every = DefaultEvery
	}
	if cfg.Patience <= 0 {
		cfg.Patience = DefaultPatience
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	b := &Book{cfg: cfg, differ: map[string]*difference{}}
	b.take(true)
	if err := b.count(cfg.Metrics); err != nil {
		return nil, fmt.Errorf("registering the metrics of the rules: %w", err)
	}
	ctx, b.stop = context.WithCancel(ctx)
	b.done.Go(func() { b.follow(ctx) })
	b.done.Go(func() { b.travel(ctx) })
	return b, nil
}

// Close ends it and waits until it has.
func (b *Book) Close() {
	b.stop()
	b.done.Wait()
}

// Serve puts the rules in force where calls are routed, now and after each change.
func (b *Book) Serve(use func(*policy.Compiled)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.use = use
	use(b.now)
}

// SetFile takes the rules of a new configuration. They are in force only where none were
// ever set; false: they are not.
func (b *Book) SetFile(c *policy.Compiled) bool {
	b.mu.Lock()
	b.cfg.File = c
	b.mu.Unlock()
	b.take(true)
	return b.Holding().Number == 0
}

// InForce returns the rules that calls are routed by.
func (b *Book) InForce() *policy.Compiled {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

// Holding says which rules are in force here.
func (b *Book) Holding() Holding {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Holding{Mark: b.mark, Trouble: b.trouble}
}

// Newest marks the newest rules that the table here holds.
func (b *Book) Newest() Mark {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.newest
}

// Unused reports whether the configuration has rules or pins that are not in force.
func (b *Book) Unused() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.newest.Number > 0 && written(b.cfg.File)
}

func written(c *policy.Compiled) bool { return len(c.Document.Rules)+len(c.Document.Pins) > 0 }

// follow takes in each change of the table.
func (b *Book) follow(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.cfg.Table.RulesChanged():
			b.take(false)
		}
	}
}

// take puts the newest rules in force that this node understands. A version that it does
// not, which newer software may have set, leaves the one before it in force: nobody
// knows what it meant, and a node that ended would take its calls with it.
func (b *Book) take(anew bool) {
	all := b.cfg.Table.Rules()
	b.mu.Lock()
	defer b.mu.Unlock()
	newest := b.fileMark()
	if len(all) > 0 {
		newest = markOf(all[len(all)-1])
	}
	if newest == b.newest && !anew {
		return
	}
	b.newest, b.trouble = newest, ""
	now, mark := b.cfg.File, b.fileMark()
	for i := len(all) - 1; i >= 0; i-- {
		c, err := compile(all[i].Text)
		if err == nil {
			now, mark = c, markOf(all[i])
			break
		}
		if b.trouble == "" {
			b.trouble = fmt.Sprintf("this node does not understand rules %d: %v", all[i].Number, err)
		}
	}
	if b.trouble != "" {
		b.trouble += fmt.Sprintf("; it keeps to rules %d: upgrade it, or roll the rules back", mark.Number)
		b.cfg.Logger.Error("the newest rules are not in force on this node", "number", newest.Number, "in_force", mark.Number, "err", b.trouble)
	} else if mark != b.mark {
		b.cfg.Logger.Info("rules are in force", "number", mark.Number, "digest", mark.Digest)
	}
	if len(all) > 0 && !b.told && written(b.cfg.File) {
		b.told = true
		b.cfg.Logger.Warn("the rules, tables and pins of the configuration are not used: the region has rules that were set", "number", newest.Number)
	}
	b.now, b.mark = now, mark
	if b.use != nil {
		b.use(now)
	}
}

// fileMark marks what the configuration says.
func (b *Book) fileMark() Mark { return Mark{Digest: b.cfg.File.Rules.Version()} }

func markOf(v ownership.Rules) Mark { return Mark{v.Number, v.Digest} }

// compile is policy.ReadDocument, and an error where that panics: the text is in the
// table of all nodes, and would end them one by one at each start.
func compile(text string) (c *policy.Compiled, err error) {
	defer func() {
		if p := recover(); p != nil {
			c, err = nil, fmt.Errorf("reading the rules: the compiler gave up: %v", p)
		}
	}()
	return policy.ReadDocument([]byte(text))
}
