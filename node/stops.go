package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// stops is what a node must undo, last first, within one deadline.
type stops struct {
	list []stopStep
	once sync.Once
	err  error // what went wrong, once it is done
}

type stopStep struct {
	name string
	do   func(context.Context) error
}

// add takes a step that cannot fail or wait.
func (s *stops) add(name string, do func()) {
	s.addWaiting(name, func(context.Context) error {
		do()
		return nil
	})
}

// addWaiting takes a step that waits, at most until its context ends.
func (s *stops) addWaiting(name string, do func(context.Context) error) {
	s.list = append(s.list, stopStep{name, do})
}

// addRunning runs something in a goroutine that ends when the node stops.
func (s *stops) addRunning(ctx context.Context, name string, run func(context.Context)) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(ctx)
	}()
	s.add(name, func() {
		cancel()
		<-done
	})
}

// run takes the steps, last first. One that fails does not keep the others from
// running; all share the deadline of ctx.
func (s *stops) run(ctx context.Context, log *slog.Logger) error {
	var all []error
	for _, step := range slices.Backward(s.list) {
		begun := time.Now()
		if err := step.do(ctx); err != nil {
			all = append(all, fmt.Errorf("stopping the %s: %w", step.name, err))
		}
		log.Debug("stopped", "part", step.name, "took", time.Since(begun))
	}
	s.list = nil
	return errors.Join(all...)
}
