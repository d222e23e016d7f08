package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
)

// Bounds of the time between two looks.
const (
	fastest = 500 * time.Millisecond
	slowest = time.Minute
)

// Once draws one plain frame of a width, after two looks that the rates are made of. Where
// the output is no terminal, or NO_COLOR is set, there is no colour in it.
func Once(ctx context.Context, g *Gatherer, between time.Duration, width int, out io.Writer, environ []string) error {
	before, err := g.Look(ctx)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(between):
	}
	now, err := g.Look(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(colorprofile.NewWriter(out, environ), frame(before, now, view{width: width}))
	return err
}

// Run shows the screen until the user quits or the context ends.
func Run(ctx context.Context, g *Gatherer, every time.Duration, in io.Reader, out io.Writer, environ []string) error {
	first, err := g.Look(ctx) // a wrong address is told in the shell, not on the screen
	if err != nil {
		return err
	}
	m := &screen{ctx: ctx, g: g, every: min(max(every, fastest), slowest), now: first, before: first, view: view{width: 80, height: 24, keys: true}}
	_, err = tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithEnvironment(environ)).Run()
	if errors.Is(err, tea.ErrInterrupted) || ctx.Err() != nil {
		return nil //nolint:nilerr // the user's wish
	}
	return err
}

// screen is the state of the loop.
type screen struct {
	ctx         context.Context
	g           *Gatherer
	every       time.Duration
	before, now Look
	view        view
	turn        int  // of the timer: an older one is out of date
	looking     bool // a look is under way
}

// seen is a look that came in.
type seen struct {
	look Look
	err  error
}

// due is the timer of a turn.
type due int

// Init implements tea.Model.
func (m *screen) Init() tea.Cmd { return m.later() }

func (m *screen) later() tea.Cmd {
	m.turn++
	turn := m.turn
	return tea.Tick(m.every, func(time.Time) tea.Msg { return due(turn) })
}

func (m *screen) look() tea.Cmd {
	if m.looking {
		return nil
	}
	m.looking = true
	return func() tea.Msg {
		l, err := m.g.Look(m.ctx)
		return seen{l, err}
	}
}

// Update implements tea.Model.
func (m *screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.view.width, m.view.height = msg.Width, msg.Height
	case due:
		if int(msg) == m.turn && !m.view.paused {
			return m, m.look()
		}
	case seen:
		m.looking = false
		if msg.err != nil {
			m.view.lost = msg.err.Error()
		} else {
			m.before, m.now, m.view.lost = m.now, msg.look, ""
		}
		return m, m.later()
	case tea.KeyPressMsg:
		return m, m.key(msg.String())
	}
	return m, nil
}

func (m *screen) key(name string) tea.Cmd {
	switch name {
	case "q", "esc", "ctrl+c":
		return tea.Quit
	case "tab", "right", "l":
		m.view.pane, m.view.scroll = (m.view.pane+1)%panes, 0
	case "shift+tab", "left", "h":
		m.view.pane, m.view.scroll = (m.view.pane+panes-1)%panes, 0
	case "down", "j":
		m.view.scroll++
	case "up", "k":
		m.view.scroll = max(0, m.view.scroll-1)
	case "pgdown":
		m.view.scroll += 10
	case "pgup":
		m.view.scroll = max(0, m.view.scroll-10)
	case "+":
		m.every = max(fastest, m.every/2)
		return m.later()
	case "-":
		m.every = min(slowest, m.every*2)
		return m.later()
	case "r":
		return m.look()
	case "space", "p":
		m.view.paused = !m.view.paused
		if !m.view.paused {
			return m.look()
		}
	}
	return nil
}

// View implements tea.Model.
func (m *screen) View() tea.View {
	v := tea.NewView(frame(m.before, m.now, m.view))
	v.AltScreen = true
	v.WindowTitle = "tandem top"
	return v
}
