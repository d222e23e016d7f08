package tandem

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// roomRule says where a room stands and whom it may import. A folder below a room
// belongs to it, unless it is a room of its own: that one may be imported by whoever
// names it, and only by them.
type roomRule struct {
	floor int
	may   []string // rooms of lower floors
	tests []string // rooms that its tests may import too
}

// rooms is the one list of who may import whom. The depguard rules of .golangci.yml
// are made from it:
//
//	UPDATE_GOLDEN=1 go test . -run Depguard
//
// A new room gets a row here and one in the map in ARCHITECTURE.md.
var rooms = map[string]roomRule{
	"spelling": {floor: 0}, // plain rules of text
	"ledger":   {floor: 0}, // the form of what a region can be held to
	"pass":     {floor: 0}, // what a node of one region shows at another region's admin door

	"ownership": {floor: 1, may: []string{"spelling"}},
	"token":     {floor: 1, may: []string{"spelling"}},
	"azure":     {floor: 1, tests: []string{"graphsim"}},
	"addrlimit": {floor: 1},
	"forecast":  {floor: 1},

	"doorway":   {floor: 2, may: []string{"addrlimit"}},
	"graph":     {floor: 2, may: []string{"spelling", "azure"}, tests: []string{"graphsim"}},
	"rollout":   {floor: 2, may: []string{"ownership"}},
	"policy":    {floor: 2, may: []string{"ownership"}},
	"store":     {floor: 2, may: []string{"ledger", "ownership"}},
	"trail":     {floor: 2, may: []string{"ownership"}},
	"traces":    {floor: 2, may: []string{"ownership"}},
	"admin/api": {floor: 2, may: []string{"forecast", "ledger", "ownership"}},

	"federation/doubles": {floor: 2, may: []string{"ownership"}},

	"webhook":      {floor: 3, may: []string{"spelling", "addrlimit", "doorway", "graph", "ownership", "policy", "token", "traces"}, tests: []string{"trail"}},
	"rulebook":     {floor: 3, may: []string{"ownership", "policy"}},
	"acme":         {floor: 3, may: []string{"ownership"}},
	"pulse":        {floor: 3, may: []string{"admin/api"}},
	"shadow":       {floor: 3, may: []string{"graph", "token"}, tests: []string{"graphsim"}},
	"bot":          {floor: 3, may: []string{"spelling", "graph", "ownership", "traces"}},
	"federation":   {floor: 3, may: []string{"spelling", "admin/api", "ownership"}},
	"admin/client": {floor: 3, may: []string{"spelling", "admin/api", "ledger", "ownership"}},

	"cluster/batch":     {floor: 0},
	"cluster/clocks":    {floor: 0},
	"cluster/peerpb":    {floor: 1},
	"cluster/lease":     {floor: 2, may: []string{"ownership"}},
	"cluster/presence":  {floor: 2, may: []string{"ownership", "cluster/peerpb"}},
	"cluster/transport": {floor: 2, may: []string{"spelling", "addrlimit", "ownership", "cluster/peerpb"}},
	"cluster/election":  {floor: 2, may: []string{"ownership", "cluster/peerpb"}},
	"cluster/disk":      {floor: 3, may: []string{"store"}},
	"cluster/leader": {
		floor: 3,
		may: []string{"spelling", "ownership", "rollout", "store", "cluster/batch", "cluster/clocks", "cluster/lease", "cluster/peerpb",
			"cluster/presence", "cluster/transport"},
	},
	"cluster": {
		floor: 4,
		may: []string{"spelling", "ownership", "store", "cluster/batch", "cluster/clocks", "cluster/disk", "cluster/election",
			"cluster/leader", "cluster/lease", "cluster/peerpb", "cluster/presence", "cluster/transport"},
	},

	"admin": {floor: 4, may: []string{"spelling", "addrlimit", "admin/api", "doorway", "ledger", "ownership", "pass"}, tests: []string{"admin/client"}},

	"node": {
		floor: 5,
		may: []string{"spelling", "acme", "admin", "admin/api", "azure", "bot", "cluster", "cluster/clocks", "cluster/transport", "doorway", "federation", "federation/doubles", "forecast", "graph", "ledger", "ownership", "pass", "policy", "pulse", "rulebook", "store",
			"token", "traces", "trail", "webhook"},
		tests: []string{"admin/client", "graphsim"},
	},
	"cmd": {
		floor: 6,
		may:   []string{"admin", "admin/api", "admin/client", "cluster", "cluster/transport", "forecast", "graphsim", "ledger", "node", "ownership", "shadow", "token"},
		tests: []string{"store"},
	},

	// Apart: a mistake shared with the product could hide.
	"graphsim":    {floor: 0},
	"conformance": {floor: 0},
	// For the authors of bots: their tests import it.
	"tandemtest": {floor: 6, may: []string{"conformance", "graphsim", "node"}},
	"examples":   {floor: 0}, // samples of bots
	// Apart: it drives the built program and judges from outside.
	"faultrig": {floor: 7, may: []string{"admin/api", "admin/client", "graphsim", "ledger", "ownership"}},
	// Apart: programs that measure, and tests.
	"bench":     {floor: 8, may: []string{"admin/api", "faultrig", "graphsim", "ownership", "shadow", "token", "trail", "webhook"}},
	"machines":  {floor: 8, tests: []string{"admin/api", "graphsim", "ownership"}},
	"regionsim": {floor: 8, tests: []string{"bot", "cluster", "cluster/clocks", "graph", "ownership", "store", "token", "webhook"}},
}

// refuses says what is wrong with one import, or nothing.
func refuses(from, to string, test bool) string {
	if !strings.HasPrefix(to, "tandem/") || room(from) == room(to) {
		return ""
	}
	rule, known := rooms[room(from)]
	if !known {
		return "the room " + room(from) + " has no row: add it to rooms in house_rooms_test.go and to the map in ARCHITECTURE.md"
	}
	name, may := room(from), rule.may
	if test {
		name, may = "the tests of "+name, slices.Concat(rule.may, rule.tests)
	}
	if slices.Contains(may, room(to)) {
		return ""
	}
	return verdict(name, may)
}

// verdict says whom a room may import.
func verdict(name string, may []string) string {
	if len(may) == 0 {
		return name + " may import no other room"
	}
	return name + " may import " + strings.Join(may, ", ") + " only"
}

func TestImportsAreOnTheList(t *testing.T) {
	all := packages(t)
	if len(all) < len(rooms) {
		t.Fatalf("go list names %d packages, fewer than there are rooms", len(all))
	}
	for _, p := range all {
		if p.ImportPath == "tandem" {
			continue
		}
		if _, known := rooms[room(p.ImportPath)]; !known {
			t.Errorf("%s: its room has no row: add it to rooms in house_rooms_test.go and to the map in ARCHITECTURE.md", p.ImportPath)
		}
		for _, to := range p.Imports {
			if why := refuses(p.ImportPath, to, false); why != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, to, why)
			}
		}
		for _, to := range slices.Concat(p.TestImports, p.XTestImports) {
			if why := refuses(p.ImportPath, to, true); why != "" {
				t.Errorf("the tests of %s import %s: %s", p.ImportPath, to, why)
			}
		}
	}
}

func TestTheListOnlyGoesDownAFloor(t *testing.T) {
	for name, r := range rooms {
		for _, to := range slices.Concat(r.may, r.tests) {
			if below, known := rooms[to]; !known || below.floor >= r.floor {
				t.Errorf("%s on floor %d may import %s, which stands on floor %d: an import only goes down a floor", name, r.floor, to, below.floor)
			}
		}
	}
}

func TestTheListItselfFindsOffenders(t *testing.T) {
	for _, c := range []struct {
		from, to  string
		test, bad bool
	}{
		{"tandem/webhook", "tandem/ownership", false, false},
		{"tandem/cmd/tandem", "tandem/graphsim", false, false},
		{"tandem/store/tablepb", "tandem/store", false, false},
		{"tandem/ownership", "tandem/store", false, true},
		{"tandem/webhook", "tandem/bot", false, true},
		{"tandem/node", "tandem/graphsim", false, true},
		{"tandem/node", "tandem/graphsim", true, false},
		{"tandem/webhook", "tandem/graphsim", true, true},
		{"tandem/graphsim", "tandem/graph", false, true},
		{"tandem/node", "tandem/util", false, true},
		{"tandem/util", "tandem/ownership", false, true},
		{"tandem/cluster", "tandem/webhook", false, true},
		{"tandem/cluster/peerpb", "tandem/admin", false, true},
		{"tandem/cluster/transport", "tandem/cluster/peerpb", false, false},
		{"tandem/cluster/transport", "tandem/cluster", false, true},
		{"tandem/cluster/transport", "tandem/store", false, true},
		{"tandem/cluster/leader", "tandem/cluster", false, true},
		{"tandem/store", "tandem/token", false, true},
		{"tandem/cmd/tandem", "tandem/store", false, true},
		{"tandem/faultrig/cmd/faultrig", "tandem/faultrig", false, false},
		{"tandem/faultrig", "tandem/admin/client", false, false},
		{"tandem/faultrig", "tandem/admin", false, true},
		{"tandem/faultrig", "tandem/admin/console", false, true},
		{"tandem/node", "tandem/admin/client", false, true},
		{"tandem/admin", "tandem/admin/client", false, true},
		{"tandem/admin", "tandem/admin/console", false, false},
		{"tandem/admin/client", "tandem/admin", true, true},
		{"tandem/faultrig", "tandem/cluster", false, true},
		{"tandem/cmd/tandem", "tandem/faultrig", false, true},
	} {
		if got := refuses(c.from, c.to, c.test); (got != "") != c.bad {
			t.Errorf("%s importing %s (in a test: %v): verdict %q, wanted an objection: %v", c.from, c.to, c.test, got, c.bad)
		}
	}
}

// The generated part of .golangci.yml stands between these lines.
const (
	depguardFrom = "      # From rooms in house_rooms_test.go: UPDATE_GOLDEN=1 go test . -run Depguard\n"
	depguardTo   = "      # End of what is made from rooms.\n"
)

// depguard writes the rules for the linter.
func depguard(t *testing.T) string {
	all := packages(t)
	var b strings.Builder
	b.WriteString(depguardFrom + "      rules:\n")
	for _, name := range slices.Sorted(maps.Keys(rooms)) {
		r := rooms[name]
		if len(r.tests) == 0 {
			depguardRule(&b, all, name, name, r.may, "/**")
			continue
		}
		depguardRule(&b, all, name, name, r.may, "/**", "!$test")
		depguardRule(&b, all, name, "the tests of "+name, slices.Concat(r.may, r.tests), "/**_test.go")
	}
	b.WriteString(depguardTo)
	return b.String()
}

// inside lists the rooms in a room's folder.
func inside(name string) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(rooms)), func(r string) bool { return !strings.HasPrefix(r, name+"/") })
}

// patterns match the packages of a room. A linter's pattern is a plain prefix, so
// "graph$" and "graph/" keep graphsim apart from graph. It takes no prefix within
// another, so the folders of a room that has others in it are told one by one.
func patterns(all []listed, name string) (out []string) {
	if len(inside(name)) == 0 {
		return []string{"tandem/" + name + "$", "tandem/" + name + "/"}
	}
	for _, p := range all {
		if room(p.ImportPath) == name {
			out = append(out, p.ImportPath+"$")
		}
	}
	return out
}

// depguardRule writes one rule for the files of a room that match and are none of but.
func depguardRule(b *strings.Builder, all []listed, name, who string, may []string, match string, but ...string) {
	var allow []string
	for _, to := range append([]string{name}, may...) {
		allow = append(allow, patterns(all, to)...)
	}
	files := []string{"${config-path}/" + name + match}
	for _, inner := range inside(name) {
		files = append(files, "!${config-path}/"+inner+"/**")
	}
	fmt.Fprintf(b, "        %s:\n          list-mode: lax\n          files: [\"%s\"]\n          allow: [%s]\n          deny: [{pkg: tandem/, desc: %q}]\n",
		strings.NewReplacer(" ", "-", "/", "-").Replace(who), strings.Join(append(files, but...), `", "`), strings.Join(allow, ", "), verdict(who, may))
}

func TestDepguardFollowsTheList(t *testing.T) {
	const file = ".golangci.yml"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begun := strings.Cut(string(text), depguardFrom)
	_, after, ended := strings.Cut(rest, depguardTo)
	if !begun || !ended {
		t.Fatalf("%s has no generated part: it stands between these lines:\n%s%s", file, depguardFrom, depguardTo)
	}
	want := before + depguard(t) + after
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text) != want {
		t.Errorf("the depguard rules of %s do not follow rooms in house_rooms_test.go: run UPDATE_GOLDEN=1 go test . -run Depguard", file)
	}
}
