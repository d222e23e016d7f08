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
	"tandem/ownership"
)

// deskFile keeps what the desk knows of handled messages, and what the table has
// yet to hear, over a stop in order.
const deskFile = "desk.json"

func (n *Node) openDesk(context.Context) error {
	d, err := n.makeDesk(n.cfg)
	if err != nil {
		return err
	}
	n.desk = d
	n.stops.addWaiting("bot's desk", n.closeDesk)
	n.recall()
	return nil
}

// recall gives the desk what the one before it knew. Without it, after a crash,
// the bot may see a repeat; nothing else depends on it.
func (n *Node) recall() {
	file := filepath.Join(n.cfg.Node.DataDir, deskFile)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var m bot.Memory
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		n.log.Warn("reading what the bot's desk knew before the restart; the bot may be handed repeats", "error", err)
	}
	n.desk.Recall(m)
	// From here on it would be the knowledge of the last start but one.
	if err := os.Remove(file); err != nil {
		n.log.Warn("removing what the bot's desk knew before the restart", "error", err)
	}
}

// closeDesk lets the desk finish what it has begun, within the grace period, and
// keeps what it knows for the next start.
func (n *Node) closeDesk(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Public.Grace)
	defer cancel()
	err := n.desk.Close(ctx)
	text, wrong := json.Marshal(n.desk.Memory())
	if wrong == nil {
		wrong = os.WriteFile(filepath.Join(n.cfg.Node.DataDir, deskFile), text, 0o600)
	}
	if wrong != nil {
		n.log.Warn("keeping what the bot's desk knows; after the start the bot may be handed repeats", "error", wrong)
	}
	return err
}

// makeDesk makes the desk with the bots beside this node.
func (n *Node) makeDesk(c Config) (*bot.Desk, error) {
	cfg := bot.Config{Node: ownership.NodeID(c.Node.ID), Logger: c.Logger, Metrics: c.Registry, Now: c.Now, Leased: ledger{n}.leased}
	for i, a := range c.Apps {
		app, err := n.app(c, appDefaults(a))
		if err != nil {
			return nil, fmt.Errorf("reading apps[%d]: %w", i, err)
		}
		cfg.Apps = append(cfg.Apps, app)
	}
	d, err := bot.New(cfg, ledger{n})
	if err != nil {
		return nil, fmt.Errorf("reading apps: %w", err)
	}
	return d, nil
}

func (n *Node) app(c Config, a App) (bot.App, error) {
	app := bot.App{
		ID: ownership.AppID(a.ID), Pinned: a.Hosting == "app", Answer: bot.AnswerBy(a.Answer),
		Timeout: a.Bot.Timeout, Bot: c.Bot,
	}
	if len(a.AnswerWith) > 0 {
		text, err := json.Marshal(a.AnswerWith)
		if err != nil {
			return app, fmt.Errorf("reading answer_with: %w", err)
		}
		app.AnswerWith = text
	}
	if app.Bot == nil {
		secret, err := a.Bot.secret()
		if err != nil {
			return app, err
		}
		n.botSecrets[a.ID] = &atomic.Value{}
		n.botSecrets[a.ID].Store(secret)
		over, err := bot.NewHTTPBot(bot.HTTPConfig{
			URL: a.Bot.URL, HealthURL: a.Bot.HealthURL, Secret: func() string { return n.botSecrets[a.ID].Load().(string) },
		})
		if err != nil {
			return app, fmt.Errorf("reading bot: %w", err)
		}
		n.stops.add("bot connections", func() { over.Close() })
		app.Bot = over
	}
	if a.Graph.TokenURL == "" {
		return app, nil // no credentials: the bot alone acts on its calls
	}
	calls, err := graph.NewCalls(graph.Config{
		BaseURL: a.Graph.BaseURL, TokenURL: a.Graph.TokenURL, Scope: a.Graph.Scope,
		ClientID: first(a.Graph.ClientID, a.ID), ClientSecretFile: a.Graph.ClientSecretFile, ClientSecret: a.Graph.ClientSecret,
		Logger: c.Logger, Metrics: c.Registry,
	})
	if err != nil {
		return app, err
	}
	n.stops.add("Graph connections", calls.Close)
	calls.Keep()
	n.outbound = append(n.outbound, outbound{a.ID, calls})
	app.Graph = calls
	return app, nil
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
