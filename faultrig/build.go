package faultrig

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build builds the product's program from the module that the rig belongs to
// and gives its path in dir. With a plant, one guard is taken out of it.
func Build(ctx context.Context, dir string, plant *Plant) (string, error) {
	root, err := goOutput(ctx, "", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return "", fmt.Errorf("finding the module: %w", err)
	}
	name := "tandem"
	args := []string{"build"}
	if plant != nil {
		name += "-" + plant.Name
		overlay, err := plant.overlay(ctx, root, dir)
		if err != nil {
			return "", fmt.Errorf("planting %s: %w", plant.Name, err)
		}
		args = append(args, "-overlay", overlay)
	}
	binary := filepath.Join(dir, name)
	if _, err := goOutput(ctx, root, append(args, "-o", binary, "./cmd/tandem")...); err != nil {
		return "", fmt.Errorf("building %s: %w", name, err)
	}
	return binary, nil
}

func goOutput(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		text := ""
		if e, ok := err.(*exec.ExitError); ok {
			text = string(e.Stderr)
		}
		return "", fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, text)
	}
	return strings.TrimSpace(string(out)), nil
}

// overlay writes the patched source and the overlay file that puts it in the
// place of the real one. It fails when the line to be changed is not there
// exactly once: a plant that plants nothing would prove nothing.
func (p *Plant) overlay(ctx context.Context, root, dir string) (string, error) {
	source := filepath.Join(root, p.File)
	if p.Module != "" {
		at, err := goOutput(ctx, root, "list", "-m", "-f", "{{.Dir}}", p.Module)
		if err != nil {
			return "", err
		}
		source = filepath.Join(at, p.File)
	}
	text, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(text), p.Old); n != 1 {
		return "", fmt.Errorf("%s holds the text to replace %d times, not once:\n%s", source, n, p.Old)
	}
	patched := filepath.Join(dir, "plant-"+p.Name+".go")
	if err := os.WriteFile(patched, []byte(strings.Replace(string(text), p.Old, p.New, 1)), 0o600); err != nil {
		return "", err
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": {source: patched}})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay-"+p.Name+".json")
	return file, os.WriteFile(file, list, 0o600)
}
