package tandem

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	sources "golang.org/x/tools/go/packages"
)

// TestEveryPlatformBuilds type-checks the program, with all that is linked, for every
// platform that it is for, but the one that all other tests are built for. Types are what differs between platforms; code for six of
// them would take minutes, and of what is linked not even the bodies are read.
func TestEveryPlatformBuilds(t *testing.T) {
	if testing.Short() {
		t.Skip("it reads the sources of all that is linked")
	}
	for _, platform := range [][2]string{
		{"linux", "amd64"}, {"linux", "arm64"}, {"windows", "amd64"}, {"windows", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"},
	} {
		if platform == [2]string{runtime.GOOS, runtime.GOARCH} {
			continue
		}
		t.Run(platform[0]+"/"+platform[1], func(t *testing.T) {
			all, err := sources.Load(&sources.Config{
				Mode: sources.NeedName | sources.NeedFiles | sources.NeedCompiledGoFiles | sources.NeedImports | sources.NeedDeps |
					sources.NeedTypes | sources.NeedSyntax | sources.NeedTypesInfo | sources.NeedTypesSizes | sources.NeedModule,
				Env:       append(os.Environ(), "GOOS="+platform[0], "GOARCH="+platform[1], "CGO_ENABLED=0"),
				ParseFile: parseForTypes,
			}, "./cmd/tandem")
			if err != nil {
				t.Fatal(err)
			}
			rooms := 0
			sources.Visit(all, nil, func(p *sources.Package) {
				if p.Module == nil || !p.Module.Main {
					return
				}
				rooms++
				for _, e := range p.Errors {
					t.Errorf("%s: %v", p.PkgPath, e)
				}
			})
			if rooms < 10 {
				t.Errorf("only %d packages of ours were read", rooms)
			}
		})
	}
}

// parseForTypes leaves out the bodies of functions that are not ours.
func parseForTypes(set *token.FileSet, name string, src []byte) (*ast.File, error) {
	file, err := parser.ParseFile(set, name, src, parser.SkipObjectResolution)
	if here, wrong := os.Getwd(); err != nil || wrong != nil || strings.HasPrefix(name, here+string(filepath.Separator)) {
		return file, err
	}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			f.Body = nil
		}
	}
	return file, nil
}
