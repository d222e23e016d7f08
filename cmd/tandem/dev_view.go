package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"tandem/graphsim"
)

// introduce says where everything is and what to try next.
func (s *stage) introduce(w io.Writer, took time.Duration) {
	fmt.Fprintf(w, "\n%d nodes in %d regions are up after %s.\n\n", len(s.nodes), len(regionNames), took.Round(time.Millisecond))
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "NODE\tPUBLIC DOOR\tADMIN DOOR\tCONSOLE")
	for _, a := range s.actors {
		fmt.Fprintf(tw, "%s\thttp://%s/api/calls\thttp://%s\thttp://%s/console/\n", a.name, a.public.Addr(), a.admin.Addr(), a.admin.Addr())
	}
	_ = tw.Flush()
	export := ""
	if first := "http://" + s.actors[0].admin.Addr().String(); first != defaultAddr {
		export = fmt.Sprintf("  export TANDEM_ADDR=%s      (port %d is taken: other programs run there)\n", first, devAdminPort)
	}
	fmt.Fprintf(w, "\nIn another terminal:\n%s  tandem nodes        (or: go run ./cmd/tandem nodes)\n  tandem calls\n\nLogs are in %s\n\n", export, s.log.Name())
}

// view prints some calls being routed, and a line of counts now and then.
type view struct {
	out   io.Writer
	stage *stage
	quiet bool
}

// Knobs of the live view: more would be unreadable.
const (
	countsEvery = 5 * time.Second // between two lines of counts
	followedFor = 4 * time.Second // then another call is followed
)

func (v *view) run(ctx context.Context) {
	happenings := v.stage.cloud.Watch(ctx)
	tick := time.NewTicker(countsEvery)
	defer tick.Stop()
	var (
		following string
		begun     time.Time
	)
	for {
		select {
		case h, ok := <-happenings:
			if !ok {
				return
			}
			if v.quiet || h.Call == "" {
				continue
			}
			if fresh := strings.HasPrefix(h.What, "incoming "); fresh && (following == "" || h.At.Sub(begun) > followedFor) {
				following, begun = h.Call, h.At
				fmt.Fprintf(v.out, "call %s: %s\n", h.Call, strings.TrimPrefix(h.What, "incoming "))
				continue
			}
			if h.Call == following {
				fmt.Fprintf(v.out, "  %6d ms  %-8s → %-14s %s\n", h.At.Sub(begun).Milliseconds(), h.From, h.To, h.What)
			}
		case <-tick.C:
			r := v.stage.cloud.Report()
			fmt.Fprintf(v.out, "--- %d calls, %d answered, %d notifications handled, %d region and %d node redirects, %d relays\n",
				r.Calls, r.Answered, r.NotificationsHandled, r.Redirects.Region, r.Redirects.Node, r.Relays)
		}
	}
}

func printReport(w io.Writer, r graphsim.Report) {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "\nWhat the simulated cloud saw\t")
	row := func(name, format string, args ...any) {
		fmt.Fprintf(tw, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("calls", "%d: %d answered in time, %d rejected, %d hung up while ringing, %d late", r.Calls, r.Answered, r.Rejected, r.HungUp, r.AnsweredLate)
	row("legacy handshakes", "%d", r.Handshakes)
	row("redirects followed", "%d to another region, %d to another node", r.Redirects.Region, r.Redirects.Node)
	row("relays", "%d", r.Relays)
	row("most hops of one POST", "%d region, %d node", r.HopsMax.Region, r.HopsMax.Node)
	row("notifications", "%d sent, %d handled, %d ignored after the end of their call", r.NotificationsSent, r.NotificationsHandled, r.Ignored)
	row("duplicates sent", "%d, handled twice: %d", r.DuplicatesSent, r.HandledTwice)
	row("lost", "%d", r.Lost)
	row("misrouted", "%d", r.Misrouted)
	row("decision", "p50 %.1f ms, p99 %.1f ms", r.DecisionMS.P50, r.DecisionMS.P99)
	row("first POST to answer", "p50 %.1f ms, p99 %.1f ms", r.AnswerMS.P50, r.AnswerMS.P99)
	var spread []string
	for _, n := range slices.Sorted(maps.Keys(r.CallsByNode)) {
		spread = append(spread, fmt.Sprintf("%s %d", n, r.CallsByNode[n]))
	}
	row("calls by node", "%s", strings.Join(spread, "  "))
	_ = tw.Flush()
	for _, v := range r.Violations {
		fmt.Fprintln(w, "  BROKEN: "+v)
	}
	if r.Bot != nil {
		printBot(w, r.Bot)
	}
	if r.OK() {
		fmt.Fprintln(w, "\nEvery promise was kept.")
	}
}

func printBot(w io.Writer, b *graphsim.BotReport) {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "\nHow your bot did\t")
	row := func(name, format string, args ...any) {
		fmt.Fprintf(tw, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("handed over", "%d: %d taken (2xx), %d without a reply in time, %d unreachable", b.HandedOver, b.Taken, b.TimedOut, b.Unreachable)
	row("refused", "%s", counted(b.Refused))
	row("wrong replies", "%s", counted(b.WrongReplies))
	row("time to reply", "p50 %.1f ms, p99 %.1f ms", b.ReplyMS.P50, b.ReplyMS.P99)
	row("health", "%d asked, %d failed", b.Health, b.Sick)
	row("by its fault", "%d calls not answered in time, %d notifications never taken", b.Unanswered, b.NotTaken)
	if b.Rejected > 0 {
		row("rejected", "%d calls, as it wanted", b.Rejected)
	}
	_ = tw.Flush()
	for _, s := range b.Advice {
		fmt.Fprintln(w, "  DO: "+s)
	}
	if b.OK() {
		fmt.Fprintln(w, "\nYour bot took everything in time.")
	}
}

// counted lists what was counted, or says that nothing was.
func counted(of map[string]int) string {
	if len(of) == 0 {
		return "0"
	}
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(of)) {
		parts = append(parts, fmt.Sprintf("%d × %s", of[what], what))
	}
	return strings.Join(parts, ", ")
}
