package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/pprof"
	"time"

	"tandem/ownership"
	"tandem/token"
	"tandem/trail"
	"tandem/webhook"
)

const (
	path   = "/api/calls"
	region = ownership.Region("emea")
	// elsewhere is the node that owns the call of the body.
	elsewhere = "https://emea-2.example.com"
)

// serveDoor is a door in a process of its own, at the listener that it was given, until
// its standard input ends.
func serveDoor(name, openID, profile string) error {
	listener, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return fmt.Errorf("taking the listener: %w", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(constant)}
	if name == "tandem" {
		var verifier *token.Verifier
		if server, listener, verifier, err = tandem(listener, openID); err != nil {
			return err
		}
		defer func() { _ = verifier.Close() }() // the process ends
	}
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return fmt.Errorf("writing the profile: %w", err)
		}
		defer f.Close() //nolint:errcheck // a lost profile is seen
		if err := pprof.StartCPUProfile(f); err != nil {
			return fmt.Errorf("writing the profile: %w", err)
		}
		defer pprof.StopCPUProfile()
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = server.Close()
	}()
	fmt.Println("ready")
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}

func constant(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Location", elsewhere+path)
	w.WriteHeader(http.StatusFound)
}

// tandem is the door as a node opens it.
func tandem(inner net.Listener, openID string) (*http.Server, net.Listener, *token.Verifier, error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	verifier, err := token.New(context.Background(), token.Config{Profiles: []token.Profile{{
		Name: "simulated", OpenIDURL: []string{openID}, Issuers: []string{issuer},
	}}}, []token.App{{ID: app, Tenants: []string{tenant}, Profile: "simulated"}})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("making the verifier: %w", err)
	}
	patience, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := verifier.WaitReady(patience); err != nil {
		return nil, nil, nil, fmt.Errorf("waiting for the issuer's keys: %w", err)
	}
	handles, err := webhook.NewHandles([]webhook.Key{{ID: "k1", Secret: []byte("0123456789abcdef0123456789abcdef")}})
	if err != nil {
		return nil, nil, nil, err
	}
	door, err := webhook.New(webhook.Config{
		Path: path, Region: region, Node: "emea-1", PublicURL: "https://emea-1.example.com", RegionURL: "https://emea.example.com",
		RedirectStatus: http.StatusFound, Midcall: webhook.MidcallRelay, BodyLimit: 1 << 20, HandOver: 5 * time.Second,
		Apps: []webhook.App{{ID: app}},
	}, webhook.Deps{
		Tokens: verifier, Table: table{}, Dispatcher: nobody{}, Regions: alone{}, Handles: handles,
		Logger: log, Steps: trail.New(region, "emea-1", time.Now, log),
	})
	if err != nil {
		return nil, nil, nil, err
	}
	limits := webhook.Limits{Connections: 4096, Idle: time.Minute}
	server, way := webhook.NewServer(door, limits), door.Listener(inner, limits)
	way.Watch(server)
	return server, way, verifier, nil
}

// table knows every call as another node's. All else is not asked.
type table struct{ webhook.Table }

func (table) Find(ownership.CallID) (ownership.Known, bool) {
	return ownership.Known{App: app, Partition: 7, Owner: "emea-2", Epoch: 3, State: ownership.CallClaimed}, true
}

func (table) Owner(p ownership.PartitionID) (ownership.Owner, bool) {
	return ownership.Owner{Node: "emea-2", Partition: p, Epoch: 3, PublicURL: elsewhere}, true
}

func (t table) OwnerOf(_ ownership.CallID, p ownership.PartitionID) (ownership.Owner, bool) {
	return t.Owner(p)
}

type (
	nobody struct{ webhook.Dispatcher }
	alone  struct{ webhook.Regions }
)

// Alone implements webhook.Regions.
func (alone) Alone() bool { return true }
