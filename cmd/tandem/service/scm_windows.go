package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"
	"golang.org/x/sys/windows/svc/mgr"
)

// Run runs a node as a service where the process was started as one; else as in a
// terminal. A stop, and the machine's shutdown, end ctx; they may take as long as it
// takes. SERVICE_CONTROL_PARAMCHANGE ('sc control Tandem paramchange') asks for a reload.
func Run(ctx context.Context, do func(context.Context, Controls) error) error {
	as, err := svc.IsWindowsService()
	if err != nil {
		return fmt.Errorf("asking whether this is a service: %w", err)
	}
	nothing := func() {}
	if !as {
		return do(ctx, Controls{Ready: nothing, Stopping: nothing, Alive: func(context.Context, func(context.Context) error) {}})
	}
	h := &handler{ctx: ctx, do: do}
	if err := svc.Run("", h); err != nil { // a process of one service needs no name here
		return fmt.Errorf("running as a service: %w", err)
	}
	return h.err
}

type handler struct {
	ctx context.Context
	do  func(context.Context, Controls) error
	err error
}

// stillHere is how often the manager hears that a stop goes on.
const stillHere = 5 * time.Second

// failed is the exit code of a service whose node gave up, so that the recovery actions count it.
const failed = 1

// Execute implements svc.Handler.
func (h *handler) Execute(_ []string, asks <-chan svc.ChangeRequest, states chan<- svc.Status) (own bool, code uint32) {
	pending := svc.Status{State: svc.StartPending, WaitHint: uint32(time.Minute.Milliseconds())}
	states <- pending
	ctx, end := context.WithCancel(h.ctx)
	defer end()
	reload, ready, over := make(chan struct{}), make(chan struct{}, 1), make(chan error, 1)
	var log io.Writer
	if events, err := eventlog.Open(DefaultName); err == nil {
		defer events.Close()
		log = &eventLog{events}
	}
	go func() {
		over <- h.do(ctx, Controls{
			Reload: reload, Log: log, Ready: func() { ready <- struct{}{} }, Stopping: func() {},
			Alive: func(context.Context, func(context.Context) error) {},
		})
	}()
	state := pending
	beat := time.NewTicker(stillHere)
	defer beat.Stop()
	set := func(s svc.Status) { state = s; states <- s }
	for {
		select {
		case <-ready:
			if ctx.Err() == nil {
				set(svc.Status{State: svc.Running, Accepts: svc.AcceptStop | svc.AcceptPreShutdown | svc.AcceptParamChange})
			}
		case ask := <-asks:
			switch ask.Cmd {
			case svc.Interrogate:
				states <- state
			case svc.ParamChange:
				go func() {
					select {
					case reload <- struct{}{}:
					case <-ctx.Done():
					}
				}()
			case svc.Stop, svc.PreShutdown:
				set(svc.Status{State: svc.StopPending, WaitHint: uint32(3 * stillHere.Milliseconds())})
				end()
			}
		case <-beat.C:
			if state.State == svc.StopPending {
				state.CheckPoint++
				states <- state
			}
		case h.err = <-over:
			states <- svc.Status{State: svc.StopPending}
			if h.err != nil {
				if log != nil {
					_, _ = fmt.Fprintf(log, "level=ERROR the node ended: %v", h.err) // it is told by the exit code, too
				}
				return true, failed
			}
			return false, 0
		}
	}
}

// eventLog takes a node's log lines, each as an event of its level.
type eventLog struct{ log *eventlog.Log }

// event is the id of all events: what they say stands in their text.
const event = 1

// Write implements io.Writer.
func (e *eventLog) Write(line []byte) (int, error) {
	tell := e.log.Info
	switch {
	case bytes.Contains(line, []byte("level=ERROR")), bytes.Contains(line, []byte(`"level":"ERROR"`)):
		tell = e.log.Error
	case bytes.Contains(line, []byte("level=WARN")), bytes.Contains(line, []byte(`"level":"WARN"`)):
		tell = e.log.Warning
	}
	return len(line), tell(event, string(bytes.TrimSpace(line)))
}

// with opens a service, and closes it afterwards.
func with(name string, do func(*mgr.Service) error) error {
	m, err := mgr.Connect()
	if err != nil {
		return fmt.Errorf("asking the service control manager, which takes an administrator: %w", err)
	}
	defer m.Disconnect()
	s, err := m.OpenService(name)
	if err != nil {
		return fmt.Errorf("opening the service %s: %w", name, err)
	}
	defer s.Close()
	return do(s)
}

// Install makes a service of this program that starts with the machine, and again a second
// after it failed.
func Install(spec Spec) error {
	program, err := os.Executable()
	if err == nil {
		program, err = filepath.Abs(program)
	}
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	m, err := mgr.Connect()
	if err != nil {
		return fmt.Errorf("asking the service control manager, which takes an administrator: %w", err)
	}
	defer m.Disconnect()
	account := spec.Account
	if account == "" {
		account = `NT SERVICE\` + spec.Name
	}
	s, err := m.CreateService(spec.Name, program, mgr.Config{
		StartType: mgr.StartAutomatic, ErrorControl: mgr.ErrorNormal, ServiceStartName: account,
		DisplayName: "Tandem call router", Description: "Brings every notification of a Teams call to the bot instance that owns the call.",
	}, "start", "--config", spec.Config)
	if err != nil {
		return fmt.Errorf("making the service %s: %w", spec.Name, err)
	}
	defer s.Close()
	again := mgr.RecoveryAction{Type: mgr.ServiceRestart, Delay: time.Second}
	err = errors.Join(
		s.SetRecoveryActions([]mgr.RecoveryAction{again, again, again}, uint32((24*time.Hour).Seconds())),
		s.SetRecoveryActionsOnNonCrashFailures(true),
	)
	if err != nil {
		return errors.Join(fmt.Errorf("telling that the service starts again after a failure: %w", err), s.Delete())
	}
	// Its source in the event log may be there from an earlier time.
	_ = eventlog.Remove(DefaultName)
	if err := eventlog.InstallAsEventCreate(DefaultName, eventlog.Error|eventlog.Warning|eventlog.Info); err != nil {
		return errors.Join(fmt.Errorf("making its source in the event log: %w", err), s.Delete())
	}
	return nil
}

// Remove takes the service and its source in the event log away; its files stay.
func Remove(name string) error {
	if err := with(name, (*mgr.Service).Delete); err != nil {
		return err
	}
	if err := eventlog.Remove(DefaultName); err != nil && !errors.Is(err, windows.ERROR_FILE_NOT_FOUND) {
		return fmt.Errorf("removing its source in the event log: %w", err)
	}
	return nil
}

// Start starts the service.
func Start(name string) error {
	return with(name, func(s *mgr.Service) error {
		if err := s.Start(); err != nil {
			return fmt.Errorf("starting the service %s: %w", name, err)
		}
		return nil
	})
}

// look lies between two questions for the state.
const look = 200 * time.Millisecond

// Stop stops the service, which drains the node, and waits for it.
func Stop(name string, wait time.Duration) error {
	return with(name, func(s *mgr.Service) error {
		status, err := s.Control(svc.Stop)
		for until := time.Now().Add(wait); err == nil && status.State != svc.Stopped; status, err = s.Query() {
			if time.Now().After(until) {
				return fmt.Errorf("the service %s still stops after %v", name, wait)
			}
			time.Sleep(look)
		}
		if err != nil {
			return fmt.Errorf("stopping the service %s: %w", name, err)
		}
		return nil
	})
}

// states are the words for what the manager says.
var states = map[svc.State]string{
	svc.Stopped: "stopped", svc.StartPending: "starting", svc.StopPending: "stopping", svc.Running: "running",
}

// Status says whether the service runs.
func Status(name string) (word string, err error) {
	err = with(name, func(s *mgr.Service) error {
		status, err := s.Query()
		word = states[status.State]
		return err
	})
	return word, err
}
