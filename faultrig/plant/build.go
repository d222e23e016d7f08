package plant

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
// and returns its path in dir. With a plant, one guard is taken out of it.
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

// Fits fails when a text to be changed is not there exactly once: such a plant would
// plant nothing and prove nothing. dir takes copies.
func (p *Plant) Fits(ctx context.Context, dir string) error {
	root, err := goOutput(ctx, "", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return err
	}
	_, err = p.plantIn(ctx, root, dir)
	return err
}

// plantIn writes the patched sources and gives the arguments that put them in
// the place of the real ones. It fails as Fits does.
func (p *Plant) plantIn(ctx context.Context, root, dir string) ([]string, error) {
	over := map[string]string{}    // source file to its patched copy
	modules := map[string]string{} // module to its patched copy
	for _, e := range p.Edits {
		if e.Module != "" {
			if err := e.inModule(ctx, root, dir, modules); err != nil {
				return nil, err
			}
			continue
		}
		source := filepath.Join(root, e.File)
		from, ok := over[source]
		if !ok {
			from = source
			over[source] = filepath.Join(dir, fmt.Sprintf("plant-%s-%d.go", p.Name, len(over)))
		}
		if err := e.patch(from, over[source]); err != nil {
			return nil, err
		}
	}
	args, err := p.overlay(dir, over)
	if err != nil || len(modules) == 0 {
		return args, err
	}
	more, err := p.replace(root, dir, modules)
	return append(args, more...), err
}

// patch writes a changed copy of a source file.
func (e *Edit) patch(source, to string) error {
	text, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	if n := strings.Count(string(text), e.Old); n != 1 {
		return fmt.Errorf("%s holds the text to replace %d times, not once:\n%s", source, n, e.Old)
	}
	return os.WriteFile(to, []byte(strings.Replace(string(text), e.Old, e.New, 1)), 0o600)
}

// inModule patches a copy of a module: the go command lays nothing over its
// module cache.
func (e *Edit) inModule(ctx context.Context, root, dir string, copies map[string]string) error {
	if copies[e.Module] == "" {
		at, err := goOutput(ctx, root, "list", "-m", "-f", "{{.Dir}}", e.Module)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, fmt.Sprintf("module-%d", len(copies)))
		if err := os.CopyFS(to, os.DirFS(at)); err != nil {
			return err
		}
		copies[e.Module] = to
	}
	file := filepath.Join(copies[e.Module], e.File)
	if err := os.Chmod(file, 0o600); err != nil {
		return err
	}
	return e.patch(file, file)
}

// overlay has the go command read the patched copies of the product's files.
func (p *Plant) overlay(dir string, over map[string]string) ([]string, error) {
	if len(over) == 0 {
		return nil, nil
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": over})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "overlay-"+p.Name+".json")
	return []string{"-overlay", file}, os.WriteFile(file, list, 0o600)
}

// replace points to the patched modules from a go.mod of its own.
func (p *Plant) replace(root, dir string, modules map[string]string) ([]string, error) {
	gomod, err1 := os.ReadFile(filepath.Join(root, "go.mod"))
	gosum, err2 := os.ReadFile(filepath.Join(root, "go.sum"))
	for module, at := range modules {
		gomod = fmt.Appendf(gomod, "\nreplace %s => %s\n", module, at)
	}
	to := filepath.Join(dir, p.Name+".mod")
	return []string{"-modfile", to}, errors.Join(err1, err2,
		os.WriteFile(to, gomod, 0o600), os.WriteFile(filepath.Join(dir, p.Name+".sum"), gosum, 0o600))
}
