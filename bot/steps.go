package bot

import (
	"errors"
	"fmt"
	"time"

	"tandem/graph"
	"tandem/ownership"
	"tandem/ownership/history"
)

// Steps remembers what the dispatcher does, for whoever follows a notification later.
type Steps interface{ Step(history.Step) }

type noSteps struct{}

func (noSteps) Step(history.Step) {}

// step begins a step of a hand-over.
func step(kind history.StepKind, h *ownership.HandOver) history.Step {
	return history.Step{
		Kind: kind, Call: h.Call, Message: h.MessageID, Partition: h.Partition, Epoch: h.Epoch, App: h.App, Tenant: h.Tenant,
		Scenario: word(h.Header["Scenario-Id"]), Request: word(h.Header["Client-Request-Id"]),
	}
}

// word takes a header that stands there once; the door has looked at its bytes.
func word(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}

// toldKinds are the steps in which the bot is told of Tandem's own events.
var toldKinds = map[ownership.Event]history.StepKind{
	ownership.EventAdopted: history.Told, ownership.EventRejoin: history.Rejoin, ownership.EventLost: history.Lost,
}

// stepHanded tells what the bot made of a hand-over.
func (d *queues) stepHanded(h *ownership.HandOver, reply ownership.Reply, err error, took time.Duration) {
	s := step(history.Handed, h)
	if own, ok := toldKinds[h.Event]; ok {
		s.Kind = own
	}
	s.Status, s.Took, s.Text = reply.Status, took, string(h.Event)
	if err != nil {
		s.Status, s.Text = 0, fmt.Sprintf("%s: the bot has not taken it: %v", h.Event, err)
	}
	d.conf.Steps.Step(s)
}

// stepRepeated tells of a message that had its effect already, or is about to have it.
func (d *queues) stepRepeated(h *ownership.HandOver, text string) {
	s := step(history.Repeated, h)
	s.Text = text
	d.conf.Steps.Step(s)
}

const (
	repeatHandled = "it was handled before and gets that reply"
	repeatWaits   = "it waits for the delivery that is under way"
	repeatRung    = "the call was rung already by another message, or is answered"
	repeatLate    = "the call is over: its bot is not told"
)

// stepAction tells what Graph said of one attempt of an action.
func (d *queues) stepAction(kind history.StepKind, h *ownership.HandOver, status int, took time.Duration) {
	s := step(kind, h)
	if s.Status, s.Took = status, took; status == 0 {
		s.Text = "Graph gave no response"
	}
	d.conf.Steps.Step(s)
}

// stepGivenUp tells why an action was not carried out.
func (d *queues) stepGivenUp(kind history.StepKind, h *ownership.HandOver, err error) {
	s := step(kind, h)
	s.Text = "given up: " + err.Error()
	if ce := (*graph.CallError)(nil); errors.As(err, &ce) {
		s.Status = ce.Status
	}
	d.conf.Steps.Step(s)
}

// stepOver tells that a call is over.
func (d *queues) stepOver(l *callQueue, h *ownership.HandOver, why string) {
	s := step(history.Over, h)
	s.Call, s.Text = l.call, why
	d.conf.Steps.Step(s)
}
