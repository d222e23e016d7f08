package main

import (
	"bufio"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"tandem/graphsim"
)

const issuer = graphsim.IssuerBotFramework

// door is one that is measured, a process of its own.
type door struct {
	name  string
	addr  string
	cmd   *exec.Cmd
	alive io.Closer // closed: a door in Go ends
	dir   string    // with its files; empty: it has none
}

// open starts all doors that are wanted.
func open(ctx context.Context, cloud *graphsim.Cloud, p plan) (doors []*door, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	wanted := func(name string) bool { return p.only == "" || p.only == name }
	for _, name := range []string{"constant", "tandem"} {
		if !wanted(name) {
			continue
		}
		args := []string{"-serve", name, "-openid", cloud.OpenIDURL()}
		if p.profile != "" {
			args = append(args, "-cpu", p.profile)
		}
		cmd := exec.CommandContext(ctx, self, args...)
		cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
		d, err := start(ctx, name, cmd)
		if err != nil {
			return doors, err
		}
		doors = append(doors, d)
	}
	if at, err := exec.LookPath("haproxy"); err == nil && wanted("haproxy") {
		dir, err := haproxyFiles(ctx, cloud)
		if err != nil {
			return doors, err
		}
		d, err := start(ctx, "haproxy", exec.CommandContext(ctx, at, "-db", "-f", filepath.Join(dir, "haproxy.cfg")))
		if err != nil {
			return doors, err
		}
		d.dir = dir
		doors = append(doors, d)
	}
	return doors, nil
}

// start runs a door at a listener of this process, which it has as descriptor 3.
func start(ctx context.Context, name string, cmd *exec.Cmd) (*door, error) {
	fail := func(err error) (*door, error) { return nil, fmt.Errorf("starting %s: %w", name, err) }
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fail(err)
	}
	defer l.Close() //nolint:errcheck // the door has its own
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		return fail(err)
	}
	defer file.Close() //nolint:errcheck // as above
	cmd.ExtraFiles, cmd.Stderr = []*os.File{file}, os.Stderr
	alive, err := cmd.StdinPipe()
	if err != nil {
		return fail(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fail(err)
	}
	if err := cmd.Start(); err != nil {
		return fail(err)
	}
	d := &door{name: name, addr: l.Addr().String(), cmd: cmd, alive: alive}
	if name != "haproxy" {
		if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" { // why, it has said itself
			d.close()
			return fail(fmt.Errorf("it said %q in place of ready", line))
		}
	}
	return d, nil
}

// close ends the door's process.
func (d *door) close() {
	_ = d.alive.Close()
	if d.name == "haproxy" {
		_ = d.cmd.Process.Kill()
	}
	_ = d.cmd.Wait()
	if d.dir != "" {
		_ = os.RemoveAll(d.dir)
	}
}

// cpu returns what all threads of the door have run, as the kernel counted it.
func (d *door) cpu() (all time.Duration) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", d.cmd.Process.Pid)) // the pattern is good
	for _, t := range tasks {
		text, err := os.ReadFile(t)
		if err != nil {
			continue // the thread has ended
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, _ := strconv.ParseInt(first, 10, 64)
		all += time.Duration(ns)
	}
	return all
}

// haproxyFiles writes HAProxy's configuration and the issuer's key. Its redirect would
// end the connection of a request with a body; return does not.
func haproxyFiles(ctx context.Context, cloud *graphsim.Cloud) (dir string, err error) {
	key, err := publicKey(ctx, cloud)
	if err != nil {
		return "", fmt.Errorf("reading the issuer's key: %w", err)
	}
	if dir, err = os.MkdirTemp("", "bench-decision"); err != nil {
		return "", err
	}
	pemFile := filepath.Join(dir, "key.pem")
	der, err := x509.MarshalPKIXPublicKey(key)
	if err == nil {
		err = os.WriteFile(pemFile, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "haproxy.cfg"), []byte(fmt.Sprintf(`
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout client 60s
  timeout http-request 5s
  timeout connect 1s
  timeout server 1s
frontend public
  bind fd@3
  option http-buffer-request
  http-request deny deny_status 405 unless METH_POST
  http-request deny deny_status 400 unless { req.hdr(content-type) -m beg application/json }
  http-request set-var(txn.bearer) http_auth_bearer
  http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')
  http-request deny deny_status 401 unless { var(txn.alg) -m str RS256 }
  http-request deny deny_status 401 unless { var(txn.bearer),jwt_payload_query('$.iss') -m str %[1]s }
  http-request deny deny_status 401 unless { var(txn.bearer),jwt_payload_query('$.aud') -m str %[2]s }
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 if { var(txn.bearer),jwt_payload_query('$.exp','int'),sub(txn.now) -m int lt 0 }
  http-request deny deny_status 401 unless { var(txn.bearer),jwt_verify(txn.alg,"%[3]s") 1 }
  http-request set-var(txn.call) req.body,json_query('$.value[0].resource')
  http-request deny deny_status 400 unless { var(txn.call) -m beg /app/calls/ }
  http-request return status 302 hdr location %[4]s%[5]s%%[var(txn.call)]
`, issuer, app, pemFile, elsewhere, path)), 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("writing HAProxy's files: %w", err)
	}
	return dir, nil
}

// publicKey reads the key that signs, where the doors read it.
func publicKey(ctx context.Context, cloud *graphsim.Cloud) (*rsa.PublicKey, error) {
	raw, err := cloud.Mint(graphsim.TokenOptions{})
	if err != nil {
		return nil, err
	}
	var head struct{ Kid string }
	first, _, _ := strings.Cut(raw, ".")
	text, err := base64.RawURLEncoding.DecodeString(first)
	if err == nil {
		err = json.Unmarshal(text, &head)
	}
	if err != nil {
		return nil, err
	}
	var doc struct {
		Keys string `json:"jwks_uri"`
	}
	if err := get(ctx, cloud.OpenIDURL(), &doc); err != nil {
		return nil, err
	}
	var set struct {
		Keys []struct{ Kid, N, E string } `json:"keys"`
	}
	if err := get(ctx, doc.Keys, &set); err != nil {
		return nil, err
	}
	for _, k := range set.Keys {
		n, err := base64.RawURLEncoding.DecodeString(k.N)
		e, err2 := base64.RawURLEncoding.DecodeString(k.E)
		if k.Kid == head.Kid && err == nil && err2 == nil {
			return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}, nil
		}
	}
	return nil, fmt.Errorf("%s does not list the key that signs", doc.Keys)
}

func get(ctx context.Context, url string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	return json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(into)
}
