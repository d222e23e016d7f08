package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"tandem/bot"
	"tandem/graph"
)

// handledFile keeps what the dispatcher knows of handled messages, and what the table has
// yet to hear, over a stop in order.
const handledFile = "desk.json"

func (n *Node) openDispatcher(context.Context) error {
	d, err := n.makeDispatcher(n.cfg)
	if err != nil {
		return err
	}
	n.dispatcher = d
	n.stops.addWaiting("bot's dispatcher", n.closeDispatcher)
	n.recall()
	return nil
}

// recall tells the dispatcher what the one before it knew. Without it, after a crash,
// the bot may see a repeat; nothing else depends on it.
func (n *Node) recall() {
	file := filepath.Join(n.cfg.Node.DataDir, handledFile)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var m bot.Memory
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		n.log.Warn("reading what the bot's dispatcher knew before the restart; the bot may be handed repeats", "err", err)
	}
	n.dispatcher.Recall(m)
	// From here on it would be the knowledge of the last start but one.
	if err := os.Remove(file); err != nil {
		n.log.Warn("removing what the bot's dispatcher knew before the restart", "err", err)
	}
}

// closeDispatcher lets the dispatcher finish what it has begun, within the grace period, and
// keeps what it knows for the next start.
func (n *Node) closeDispatcher(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Public.Grace)
	defer cancel()
	err := n.dispatcher.Close(ctx)
	text, wrong := json.Marshal(n.dispatcher.Memory())
	if wrong == nil {
		wrong = os.WriteFile(filepath.Join(n.cfg.Node.DataDir, handledFile), text, 0o600)
	}
	if wrong != nil {
		n.log.Warn("keeping what the bot's dispatcher knows; after the start the bot may be handed repeats", "err", wrong)
	}
	return err
}

// makeDispatcher makes the dispatcher with the bots beside this node.
func (n *Node) makeDispatcher(c Config) (*bot.Dispatcher, error) {
	cfg, err := c.botConfig()
	if err != nil {
		return nil, err
	}
	cfg.Leased, cfg.Steps, cfg.Traces = ledger{n}.leased, n.trail, n.traces
	for i, a := range c.Apps {
		if err := n.reach(&cfg.Apps[i], c.Bot, a); err != nil {
			return nil, fmt.Errorf("reading apps[%d]: %w", i, err)
		}
	}
	d, err := bot.New(cfg, ledger{n})
	if err != nil {
		return nil, fmt.Errorf("reading apps: %w", err)
	}
	return d, nil
}

// reach gives an app the bot beside this node, and Graph where it has credentials.
func (n *Node) reach(app *bot.App, here bot.Bot, a App) error {
	if app.Bot = here; here == nil {
		secret, err := a.Bot.secret()
		if err != nil {
			return err
		}
		n.botSecrets[a.ID] = &atomic.Value{}
		n.botSecrets[a.ID].Store(secret)
		cfg := a.httpBot(func() string { return n.botSecrets[a.ID].Load().(string) })
		cfg.Wrap = n.watched("bot")
		over, err := bot.NewHTTPBot(cfg)
		if err != nil {
			return err
		}
		n.stops.add("bot connections", func() { over.Close() })
		app.Bot = over
	}
	if !a.Graph.acts() {
		return nil // no credentials: the bot alone acts on its calls
	}
	cfg := n.cfg.graphConfig(a)
	cfg.Logger, cfg.Metrics, cfg.Wrap = n.log, n.cfg.Registry, n.watched("Graph")
	calls, err := graph.NewCalls(cfg)
	if err != nil {
		return err
	}
	n.stops.add("Graph connections", calls.Close)
	calls.Keep()
	n.outbound = append(n.outbound, outbound{a.ID, calls})
	app.Graph = calls
	return nil
}
