package bundle

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"
	"time"

	"tandem/admin/client"
	"tandem/cmd/tandem/doors"
	"tandem/ownership/history"
)

// Bounds of a bundle.
const (
	patience   = 20 * time.Second // of one node
	mostEvents = 5000             // the newest
	mostFile   = 32 << 20         // bytes of one file; the rest is cut off and said to be
	atATime    = 8                // nodes
)

// Manifest is the first file of a bundle: what is in it, and what is not.
type Manifest struct {
	MadeAt  time.Time `json:"made_at"`
	MadeBy  string    `json:"made_by"` // the software that made it
	Files   []string  `json:"files"`
	Missing []string  `json:"missing"` // which file, and why
	Note    string    `json:"note"`
}

const note = "Secrets are taken out. Call ids, node names and addresses are not. Calls, tenants, threads and users are not in it, " +
	"except as events and lines of the logs name them. Nodes keep the last 1 MiB of their log: what is older, and what a process said that has ended, " +
	"your supervisor has, such as journalctl -u tandem --since -1h."

// file is one file, before it is written.
type file struct {
	name string
	text string
	err  error
}

// Write gathers from all nodes and writes the archive, a tar in gzip, to out. Who does
// not answer is told in the manifest. The error is that of the asked door, or of writing.
func Write(ctx context.Context, asked *client.Client, dial doors.Dial, software string, now time.Time, out io.Writer) (Manifest, error) {
	m := Manifest{MadeAt: now.UTC(), MadeBy: software, Note: note, Missing: []string{}}
	all, err := doors.All(ctx, asked, dial, false)
	if err != nil {
		return m, err
	}
	defer doors.Close(all, asked)
	var (
		wait   sync.WaitGroup
		each   = make([][]file, len(all))
		places = make(chan struct{}, atATime)
	)
	for i, d := range all {
		wait.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			each[i] = gather(ctx, d)
		})
	}
	wait.Wait()
	var files []file
	for _, part := range each {
		for _, f := range part {
			if f.err != nil {
				m.Missing = append(m.Missing, Redact(f.name+": "+f.err.Error()))
				continue
			}
			m.Files = append(m.Files, f.name)
			files = append(files, f)
		}
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return m, fmt.Errorf("writing the bundle: %w", err)
	}
	return m, archive(out, append([]file{{name: "manifest.json", text: string(text)}}, files...), now)
}

// gather asks one node for everything.
func gather(ctx context.Context, d doors.Door) []file {
	at := func(name string) string { return path.Join(word(string(d.Region)), word(string(d.Node.ID)), name) }
	if d.Err != nil {
		return []file{{name: at("*"), err: d.Err}}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c := client.Inside{Client: d.Client}
	if err := c.Live(ctx); err != nil {
		return []file{{name: at("*"), err: err}}
	}
	return []file{
		asJSON(at("status.json"))(c.Status(ctx)),
		asJSON(at("ready.json"))(c.Ready(ctx)),
		asJSON(at("guarantees.json"))(c.Guarantees(ctx)),
		asJSON(at("config.json"))(c.Config(ctx)),
		asJSON(at("nodes.json"))(c.Nodes(ctx)),
		asJSON(at("partitions.json"))(c.Partitions(ctx)),
		asJSON(at("raft.json"))(c.Peers(ctx)),
		asJSON(at("regions.json"))(c.Regions(ctx)),
		asJSON(at("rules.json"))(c.Rules().Now(ctx)),
		asJSON(at("rollouts.json"))(c.Rollouts().List(ctx)),
		asJSON(at("audit.json"))(c.Audit(ctx)),
		asText(at("events.jsonl"))(events(ctx, d.Client)),
		asText(at("log.jsonl"))(c.LastLog(ctx)),
		asText(at("metrics.txt"))(c.Metrics(ctx)),
		asText(at("goroutines.txt"))(c.Goroutines(ctx)),
	}
}

func asJSON(name string) func(any, error) file {
	return func(v any, err error) file {
		if err != nil {
			return file{name: name, err: err}
		}
		text, err := json.MarshalIndent(v, "", "  ")
		return file{name, string(text), err}
	}
}

func asText(name string) func(string, error) file {
	return func(text string, err error) file { return file{name, text, err} }
}

// events are the newest ones, a line each.
func events(ctx context.Context, c *client.Client) (string, error) {
	var lines []string
	err := c.Events(ctx, 0, false, func(e history.Event) error {
		text, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if len(lines) == 2*mostEvents {
			lines = append(lines[:0], lines[mostEvents:]...)
		}
		lines = append(lines, string(text))
		return nil
	})
	return strings.Join(lines[max(0, len(lines)-mostEvents):], "\n"), err
}

// archive writes the files, without their secrets.
func archive(out io.Writer, files []file, now time.Time) error {
	zip := gzip.NewWriter(out)
	tape := tar.NewWriter(zip)
	err := func() error {
		for _, f := range files {
			text := Redact(f.text)
			if len(text) > mostFile {
				text = text[:mostFile] + "\n(cut off here)\n"
			}
			if err := tape.WriteHeader(&tar.Header{Name: path.Join("tandem-debug", f.name), Mode: 0o600, Size: int64(len(text)), ModTime: now}); err != nil {
				return err
			}
			if _, err := io.WriteString(tape, text); err != nil {
				return err
			}
		}
		return nil
	}()
	if err = errors.Join(err, tape.Close(), zip.Close()); err != nil {
		return fmt.Errorf("writing the bundle: %w", err)
	}
	return nil
}

// word keeps a name to what is safe as a part of a path.
func word(s string) string {
	safe := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '_'
	}, s)
	return cmp.Or(strings.TrimLeft(safe, "."), "_")
}
