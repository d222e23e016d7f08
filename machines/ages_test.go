package machines_test

import (
	"sync"
	"time"

	"tandem/admin/api"
)

// ageWatch looks how old a node's view of the other regions is.
type ageWatch struct {
	stop func()

	mu      sync.Mutex
	resting *machine
	ages    []time.Duration
	failed  int
}

// watchAges asks one node after the other, a second apart.
func watchAges(s *stage) *ageWatch {
	w := &ageWatch{}
	over, ended := make(chan struct{}), make(chan struct{})
	w.stop = sync.OnceFunc(func() { close(over); <-ended })
	s.t.Cleanup(w.stop)
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-over:
				return
			case <-tick.C:
				w.look(s.machines[n%len(s.machines)])
			}
		}
	}()
	return w
}

func (w *ageWatch) rest(m *machine) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resting = m
}

func (w *ageWatch) look(m *machine) {
	w.mu.Lock()
	resting := w.resting
	w.mu.Unlock()
	if m == resting {
		return
	}
	known, err := read[[]api.Region](m, "regions")
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.failed++
		return
	}
	for _, r := range known {
		if age, err := time.ParseDuration(r.Age); err == nil && !r.Here {
			w.ages = append(w.ages, age)
		}
	}
}

// tell ends the watch.
func (w *ageWatch) tell(s *stage) {
	s.t.Helper()
	w.stop()
	s.tell("age of the view of another region: %s; %d looks failed", spans(w.ages), w.failed)
	if len(w.ages) == 0 {
		s.t.Error("nothing was seen of the age of the view of other regions")
	}
}
