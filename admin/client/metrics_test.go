package client

import (
	"maps"
	"math"
	"testing"
)

func TestSamples(t *testing.T) {
	t.Parallel()
	got := maps.Collect(Samples("# HELP a b\n# TYPE a counter\na 1\nb{x=\"y z} 3\",n=\"1\"} 2.5 1700000000\nc{} +Inf\nbroken\nd x\n\n"))
	want := map[string]float64{"a": 1, `b{x="y z} 3",n="1"}`: 2.5, "c{}": math.Inf(1)}
	if !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func FuzzSamples(f *testing.F) {
	f.Add("a{b=\"c\"} 1 2\n# x\n")
	f.Fuzz(func(t *testing.T, text string) {
		for name := range Samples(text) {
			if len(name) > len(text) {
				t.Fatalf("%q came out of %q", name, text)
			}
		}
	})
}
