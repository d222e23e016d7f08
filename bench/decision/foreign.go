package main

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"tandem/graphsim"
)

// foreignDoor is what users would put in Tandem's place.
type foreignDoor struct {
	name    string                           // of its program
	version []string                         // arguments that have it say its version
	files   func(at place) map[string]string // by name
	args    func(dir string) []string
	env     []string
}

// place is where a door stands, and the issuer's key.
type place struct {
	addr string
	dir  string // its files are there, and the key in keyFile
	key  []byte // DER
}

const keyFile = "key.pem"

var foreign = []foreignDoor{
	{
		name: "haproxy", version: []string{"-v"}, files: haproxyFiles,
		args: func(dir string) []string { return []string{"-db", "-f", filepath.Join(dir, "haproxy.cfg")} },
	},
	{
		name: "nginx", version: []string{"-v"}, files: nginxFiles,
		args: func(dir string) []string { return []string{"-p", dir, "-e", "stderr", "-c", "nginx.conf"} },
		env:  []string{"NGINX=3;"}, // it takes over the descriptor that listens where it is told to
	},
}

// open starts the door with its files, one of which is the issuer's key.
func (f foreignDoor) open(ctx context.Context, cloud *graphsim.Cloud) (*door, error) {
	fail := func(err error) (*door, error) { return nil, fmt.Errorf("starting %s: %w", f.name, err) }
	key, err := publicKey(ctx, cloud)
	if err != nil {
		return fail(fmt.Errorf("reading the issuer's key: %w", err))
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return fail(err)
	}
	dir, err := os.MkdirTemp("", "bench-decision")
	if err != nil {
		return fail(err)
	}
	l, err := listen(ctx)
	if err != nil {
		return fail(err)
	}
	files := f.files(place{l.Addr().String(), dir, der})
	files[keyFile] = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return fail(err)
		}
	}
	cmd := exec.CommandContext(ctx, f.name, f.args(dir)...)
	cmd.Env = append(os.Environ(), f.env...)
	d, _, err := startAt(f.name, l, cmd)
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	d.foreign, d.dir = true, dir
	return d, nil
}

// says returns the version that the program gives of itself.
func (f foreignDoor) says(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, f.name, f.version...).CombinedOutput()
	if err != nil {
		return "no " + f.name
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	first, _, _ = strings.Cut(first, " - ")
	return strings.TrimPrefix(first, "nginx version: ")
}

// haproxyFiles: its redirect would end the connection of a request with a body; return
// does not.
func haproxyFiles(at place) map[string]string {
	return map[string]string{"haproxy.cfg": fmt.Sprintf(`
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
`, issuer, app, filepath.Join(at.dir, keyFile), elsewhere, path)}
}

// nginxFiles: the checks are those of HAProxy's, in njs, which has RSA by WebCrypto. It
// runs the module anew for each request, so an imported key does not outlive one.
func nginxFiles(at place) map[string]string {
	return map[string]string{
		"nginx.conf": fmt.Sprintf(`
daemon off;
worker_processes 1;
load_module /usr/lib/nginx/modules/ngx_http_js_module.so;
error_log stderr crit;
pid nginx.pid;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  keepalive_requests 1000000000;
  client_body_buffer_size 64k;
  client_body_in_single_buffer on;
  js_path %[1]q;
  js_import door from door.js;
  server {
    listen %[2]s;
    location = %[3]s { js_content door.decide; }
  }
}
`, at.dir, at.addr, path),
		"door.js": fmt.Sprintf(`
const der = Buffer.from(%[1]q, 'base64');
const rsa = {name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256'};

async function decide(r) {
  try {
    if (r.method != 'POST') { return r.return(405); }
    if (!(r.headersIn['Content-Type'] || '').startsWith('application/json')) { return r.return(400); }
    const auth = r.headersIn['Authorization'] || '';
    if (!auth.startsWith('Bearer ')) { return r.return(401); }
    const parts = auth.slice(7).split('.');
    if (parts.length != 3) { return r.return(401); }
    if (JSON.parse(Buffer.from(parts[0], 'base64url')).alg != 'RS256') { return r.return(401); }
    const claims = JSON.parse(Buffer.from(parts[1], 'base64url'));
    if (claims.iss != %[2]q || claims.aud != %[3]q || claims.exp < Date.now() / 1000) { return r.return(401); }
    const key = await crypto.subtle.importKey('spki', der, rsa, false, ['verify']);
    const good = await crypto.subtle.verify(rsa, key, Buffer.from(parts[2], 'base64url'), Buffer.from(parts[0] + '.' + parts[1]));
    if (!good) { return r.return(401); }
    const call = JSON.parse(r.requestText).value[0].resource;
    if (!call.startsWith('/app/calls/')) { return r.return(400); }
    r.return(302, %[4]q + call);
  } catch (e) {
    r.error(e.message);
    r.return(400);
  }
}

export default {decide};
`, base64.StdEncoding.EncodeToString(at.key), issuer, app, elsewhere+path),
	}
}
