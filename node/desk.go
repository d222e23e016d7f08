package node

import (
	"encoding/json"
	"fmt"

	"tandem/bot"
	"tandem/graph"
	"tandem/ownership"
)

// makeDesk makes the desk with the bots beside this node.
func (n *Node) makeDesk(c Config) (*bot.Desk, error) {
	cfg := bot.Config{Node: ownership.NodeID(c.Node.ID), Logger: c.Logger, Metrics: c.Registry, Now: c.Now}
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
		over, err := bot.NewHTTPBot(bot.HTTPConfig{URL: a.Bot.URL, HealthURL: a.Bot.HealthURL})
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
		ClientID: first(a.Graph.ClientID, a.ID), ClientSecretFile: a.Graph.ClientSecretFile,
		Logger: c.Logger, Metrics: c.Registry,
	})
	if err != nil {
		return app, err
	}
	n.stops.add("Graph connections", calls.Close)
	app.Graph = calls
	return app, nil
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
