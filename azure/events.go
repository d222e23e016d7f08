package azure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The types of an event. More may come: an unknown one is told and nothing is done.
const (
	Freeze    = "Freeze"    // the machine stands still for some seconds
	Reboot    = "Reboot"    // memory is lost
	Redeploy  = "Redeploy"  // local disks are lost, too
	Preempt   = "Preempt"   // a spot machine is deleted
	Terminate = "Terminate" // the machine is deleted
)

// Started is the status of an event that is under way; before, it is Scheduled.
const Started = "Started"

// Event is one announced event of maintenance. There is no status for its end: it is no
// longer told.
type Event struct {
	ID          string
	Type        string        // Freeze, Reboot, …
	Status      string        // Scheduled or Started
	Source      string        // Platform or User
	Description string        // for people; made printable and cut
	Resources   []string      // names of the machines that it is for
	NotBefore   time.Time     // zero: it has begun
	Duration    time.Duration // of the interruption; negative: not known
}

// For reports whether an event is for a machine: the events of a whole group of machines
// are told to each of them. Names of resources do not depend on case in Azure.
func (e Event) For(machine string) bool {
	return slices.ContainsFunc(e.Resources, func(r string) bool { return strings.EqualFold(r, machine) })
}

// EventsPatience bounds a question for events: the first one of a deployment may take two
// minutes, says Microsoft's page.
const EventsPatience = 130 * time.Second

const eventsPath = "/metadata/scheduledevents"

var eventsVersion = url.Values{"api-version": {"2020-07-01"}}

// Events tells what is announced for this machine and those of its group.
func (m *Metadata) Events(ctx context.Context) ([]Event, error) {
	ctx, cancel := context.WithTimeout(ctx, EventsPatience)
	defer cancel()
	body, err := m.ask(ctx, http.MethodGet, eventsPath, eventsVersion, nil)
	if err == nil {
		var all []Event
		if all, err = readEvents(body); err == nil {
			return all, nil
		}
	}
	return nil, fmt.Errorf("asking the metadata service for announced maintenance: %w", err)
}

// Begin says that this machine is ready for an event: it may start before its time.
func (m *Metadata) Begin(ctx context.Context, id string) error {
	type request struct {
		ID string `json:"EventId"`
	}
	body, err := json.Marshal(struct{ StartRequests []request }{[]request{{id}}})
	if err != nil {
		return fmt.Errorf("writing that an event may begin: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	if _, err := m.ask(ctx, http.MethodPost, eventsPath, eventsVersion, body); err != nil {
		return fmt.Errorf("telling the metadata service that an event may begin: %w", err)
	}
	return nil
}

// Bounds of what is believed of one answer.
const (
	maxEvents = 256
	maxText   = 200 // bytes of a text for people
)

// readEvents reads the document. An event without id or type is left out.
func readEvents(body []byte) ([]Event, error) {
	var doc struct {
		Events []struct {
			ID                string `json:"EventId"`
			EventType         string
			EventStatus       string
			EventSource       string
			Description       string
			NotBefore         string
			Resources         []string
			DurationInSeconds int64
		}
	}
	if json.Unmarshal(body, &doc) != nil {
		return nil, errors.New("its answer cannot be read")
	}
	var all []Event
	for _, e := range doc.Events {
		if e.ID == "" || len(e.ID) > 128 || e.EventType == "" || len(all) == maxEvents {
			continue
		}
		at, _ := http.ParseTime(e.NotBefore) // blank once it has begun
		all = append(all, Event{
			ID: plain(e.ID), Type: plain(e.EventType), Status: plain(e.EventStatus), Source: plain(e.EventSource), Description: plain(e.Description),
			Resources: e.Resources, NotBefore: at, Duration: time.Duration(min(max(e.DurationInSeconds, -1), 86400)) * time.Second,
		})
	}
	return all, nil
}

// plain makes a text fit for logs and screens.
func plain(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return ' '
		}
		return c
	}, s)
	return strings.TrimSpace(s[:min(len(s), maxText)])
}
