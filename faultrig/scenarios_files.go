package faultrig

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tandem/faultrig/fleet"
)

// killAtBirth: a node that dies while its files are being made starts again, or
// says what to do.
func killAtBirth(ctx context.Context, s *Stage) error {
	n, err := s.Extra(s.Round, s.Round, func(doc map[string]any) {
		doc["cluster"].(map[string]any)["bootstrap_expect"] = 0
	})
	if err != nil {
		return err
	}
	for _, after := range []time.Duration{30, 60, 90, 120, 160, 220, 300} {
		fleet.Pause(ctx, (after+time.Duration(rand.IntN(30)))*time.Millisecond)
		n.Kill()
		if err := n.Start(); err != nil {
			return err
		}
	}
	if err := n.Ready(ctx, 15*time.Second); err != nil {
		s.Break("after seven kills in its first moments: %v; the end of its log: %s", err, tail(n.LogFile))
		return nil
	}
	if err := s.Nodes[0].API.Remove(ctx, n.ID); err != nil {
		return fmt.Errorf("removing %s: %w", n.ID, err)
	}
	n.Kill()
	return nil
}

func tail(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-600):])
}

// flipBit changes one bit of one file of a stopped node. It starts and has the
// right table, or it refuses with a sentence and comes back by the documented
// way: remove, wipe, start.
func flipBit(ctx context.Context, s *Stage) error {
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	n := s.Others(leader)[s.Round%2]
	n.Kill()
	file, at, err := flip(n.DataDir, s.Round)
	if err != nil {
		return err
	}
	ends := len(n.Exits())
	if err := n.Start(); err != nil {
		return err
	}
	ready := n.Ready(ctx, 8*time.Second)
	said := tail(n.LogFile)
	if ready == nil && len(n.Exits()) == ends {
		s.Note("a bit of %s at %d was flipped: the node started; its table is judged at the end", file, at)
		return nil
	}
	if !strings.Contains(said, "to heal it") {
		s.Break("a bit of %s at %d was flipped: the node did not start and did not say why: %s", file, at, said)
	}
	s.Note("a bit of %s at %d was flipped: refused: %s", file, at, lastLine(said))
	n.Kill()
	if err := leader.API.Remove(ctx, n.ID); err != nil {
		return fmt.Errorf("removing %s: %w", n.ID, err)
	}
	if err := fleet.Wipe(n.DataDir); err != nil {
		return err
	}
	return s.bringBack(ctx, n)
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// flip flips a bit in the written part of the table's or the log's largest file.
func flip(dir string, round int) (string, int64, error) {
	var files []string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && (strings.HasSuffix(path, ".db") || strings.HasSuffix(path, ".wal") || strings.HasSuffix(path, ".bin")) {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		return "", 0, fmt.Errorf("looking for files to damage in %s: found %d: %w", dir, len(files), err)
	}
	file := files[round%len(files)]
	text, err := os.ReadFile(file)
	if err != nil {
		return "", 0, fmt.Errorf("damaging %s: %w", file, err)
	}
	used := len(text)
	for used > 1 && text[used-1] == 0 {
		used--
	}
	at := rand.IntN(used)
	text[at] ^= 1 << rand.IntN(8)
	return filepath.Base(file), int64(at), os.WriteFile(file, text, 0o600)
}
