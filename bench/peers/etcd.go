package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// etcd is three processes of it, with a client for each.
type etcd struct {
	version string
	procs   []*exec.Cmd
	clients []*clientv3.Client
}

// startEtcd builds etcd, starts a cluster of three, and waits until it takes writes.
func startEtcd(ctx context.Context, dir string) (e *etcd, err error) {
	e = &etcd{}
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	program := filepath.Join(dir, "etcd")
	if _, err := output(ctx, "go", "build", "-o", program, "go.etcd.io/etcd/server/v3"); err != nil {
		return e, err
	}
	text, err := output(ctx, program, "--version")
	if err != nil {
		return e, err
	}
	e.version, _, _ = strings.Cut(text, "\n")
	var names, peers, doors []string
	for i := range 3 {
		peer, err := free(ctx)
		if err != nil {
			return e, err
		}
		door, err := free(ctx)
		if err != nil {
			return e, err
		}
		names, peers, doors = append(names, fmt.Sprintf("e%d", i)), append(peers, "http://"+peer), append(doors, "http://"+door)
	}
	for i := range 3 {
		var all []string
		for j := range 3 {
			all = append(all, names[j]+"="+peers[j])
		}
		cmd := exec.CommandContext(ctx, program, "--name", names[i], "--data-dir", filepath.Join(dir, names[i]), "--log-level", "error",
			"--listen-client-urls", doors[i], "--advertise-client-urls", doors[i], "--listen-peer-urls", peers[i], "--initial-advertise-peer-urls", peers[i],
			"--initial-cluster", strings.Join(all, ","))
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			return e, err
		}
		e.procs = append(e.procs, cmd)
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{doors[i]}, DialTimeout: 10 * time.Second})
		if err != nil {
			return e, err
		}
		e.clients = append(e.clients, client)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for i := range 3 {
		if _, err := e.clients[i].Put(ctx, known, owner); err != nil {
			return e, fmt.Errorf("waiting for the cluster: %w", err)
		}
	}
	return e, nil
}

// free is an address that nobody listened at a moment ago: etcd's processes must know each
// other's before they start.
func free(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// What a user would write under a call's id: the owner, and what the record of a call holds.
const (
	known = "call/known"
	owner = `{"node":"emea-1","partition":7,"epoch":3,"app":"1d6a7f0c-9a52-4c4e-b2a4-6f4d3a0e7c11","tenant":"8986d25d-ed3f-4bb8-b739-14d2fcc37b09","at":"2026-01-01T00:00:00Z"}`
)

func (e *etcd) do(ctx context.Context, _, i int, what string, n uint64) error {
	switch what {
	case "claim":
		key := fmt.Sprintf("call/%032x", n)
		res, err := e.clients[i].Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
			Then(clientv3.OpPut(key, owner)).Else(clientv3.OpGet(key)).Commit()
		if err == nil && !res.Succeeded {
			err = errors.New("the key was there")
		}
		return err
	case "local":
		return found(e.clients[i].Get(ctx, known, clientv3.WithSerializable()))
	case "linearizable":
		return found(e.clients[i].Get(ctx, known))
	}
	return fmt.Errorf("nobody knows how to ask for %q", what)
}

func found(res *clientv3.GetResponse, err error) error {
	if err == nil && len(res.Kvs) != 1 {
		err = errors.New("the key is not there")
	}
	return err
}

func (e *etcd) pids() []int {
	var all []int
	for _, p := range e.procs {
		all = append(all, p.Process.Pid)
	}
	return all
}

func (e *etcd) close() {
	for _, c := range e.clients {
		_ = c.Close() // nothing is under way
	}
	for _, p := range e.procs {
		_ = p.Process.Kill()
		_ = p.Wait() // it was killed
	}
}
