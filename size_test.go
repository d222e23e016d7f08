package tandem

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"testing"
)

// What a type or a folder may hold before it owns too much. Files are those of
// code, without tests and what is generated.
const (
	mostMethods = 60
	mostFields  = 30
	mostFiles   = 35
)

// TestNoTypeAndNoFolderOwnsEverything: a type that outgrows this is cut into parts
// that know only what is below them, a folder into rooms.
func TestNoTypeAndNoFolderOwnsEverything(t *testing.T) {
	types := 0
	for _, p := range packages(t) {
		methods, fields, files := map[string]int{}, map[string]int{}, 0
		for _, name := range p.GoFiles {
			path := filepath.Join(p.Dir, name)
			if _, generated, _ := measure(t, path); generated {
				continue
			}
			files++
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			weigh(f, methods, fields)
		}
		types += len(fields)
		for name, n := range fields {
			within(t, p.ImportPath+"."+name+": fields", n, mostFields)
			within(t, p.ImportPath+"."+name+": methods", methods[name], mostMethods)
		}
		within(t, p.ImportPath+": files", files, mostFiles)
	}
	if types < 200 {
		t.Errorf("only %d types were found: the rule sees nothing", types)
	}
}

func within(t *testing.T, what string, n, most int) {
	t.Helper()
	if n > most {
		t.Errorf("%s are %d, at most %d are allowed: cut it", what, n, most)
	}
}

// weigh counts the fields of each struct and the methods of each type.
func weigh(f *ast.File, methods, fields map[string]int) {
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv != nil {
				methods[receiver(d.Recv.List[0].Type)]++
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				if s, ok := s.(*ast.TypeSpec); ok {
					if st, ok := s.Type.(*ast.StructType); ok {
						fields[s.Name.Name] = width(st)
					}
				}
			}
		}
	}
}

func width(s *ast.StructType) (n int) {
	for _, f := range s.Fields.List {
		n += max(1, len(f.Names))
	}
	return n
}

// receiver is the name of a method's type, without pointer and parameters.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}
