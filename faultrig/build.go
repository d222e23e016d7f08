package faultrig

import (
	"context"
	"encoding/json"
	"errors"
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
		more, err := plant.plantIn(ctx, root, dir)
		if err != nil {
			return "", fmt.Errorf("planting %s: %w", plant.Name, err)
		}
		args = append(args, more...)
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
		if e := (*exec.ExitError)(nil); errors.As(err, &e) {
			text = string(e.Stderr)
		}
		return "", fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, text)
	}
	return strings.TrimSpace(string(out)), nil
}

// plantIn writes the patched source and gives the arguments that put it in the
// place of the real one. It fails when the text to be changed is not there
// exactly once: a plant that plants nothing would prove nothing.
func (p *Plant) plantIn(ctx context.Context, root, dir string) ([]string, error) {
	if p.Module != "" {
		return p.replace(ctx, root, dir)
	}
	source := filepath.Join(root, p.File)
	patched := filepath.Join(dir, "plant-"+p.Name+".go")
	if err := p.patch(source, patched); err != nil {
		return nil, err
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": {source: patched}})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "overlay-"+p.Name+".json")
	return []string{"-overlay", file}, os.WriteFile(file, list, 0o600)
}

// patch writes a changed copy of a source file.
func (p *Plant) patch(source, to string) error {
	text, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	if n := strings.Count(string(text), p.Old); n != 1 {
		return fmt.Errorf("%s holds the text to replace %d times, not once:\n%s", source, n, p.Old)
	}
	return os.WriteFile(to, []byte(strings.Replace(string(text), p.Old, p.New, 1)), 0o600)
}

// replace patches a copy of a module: the go command lays nothing over its
// module cache, so a go.mod of its own points to the copy.
func (p *Plant) replace(ctx context.Context, root, dir string) ([]string, error) {
	at, err := goOutput(ctx, root, "list", "-m", "-f", "{{.Dir}}", p.Module)
	if err != nil {
		return nil, err
	}
	mod := filepath.Join(dir, "module-"+p.Name)
	if err := os.CopyFS(mod, os.DirFS(at)); err != nil {
		return nil, err
	}
	file := filepath.Join(mod, p.File)
	if err := os.Chmod(file, 0o600); err != nil {
		return nil, err
	}
	if err := p.patch(file, file); err != nil {
		return nil, err
	}
	gomod, err1 := os.ReadFile(filepath.Join(root, "go.mod"))
	gosum, err2 := os.ReadFile(filepath.Join(root, "go.sum"))
	gomod = fmt.Appendf(gomod, "\nreplace %s => %s\n", p.Module, mod)
	to := filepath.Join(dir, p.Name+".mod")
	return []string{"-modfile", to}, errors.Join(err1, err2,
		os.WriteFile(to, gomod, 0o600), os.WriteFile(filepath.Join(dir, p.Name+".sum"), gosum, 0o600))
}
