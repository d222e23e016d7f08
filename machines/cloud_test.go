package machines_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"tandem/graphsim"
)

// The one bot registration; the secret is good nowhere but at the simulator.
const (
	appID     = "0efc74f7-41c3-47a4-8775-7259bfef4241"
	appSecret = "test only"
)

// cloudSettings is what the cloud's process is told.
type cloudSettings struct {
	Listen                    string
	CertFile, KeyFile, CAFile string
	RegionURLs                map[string]string
	Targets                   []graphsim.Target
	Seed                      uint64
	Astray                    float64
	Willing                   bool // bots and Graph refuse nothing: a 503 is the router's, and so is a late answer
}

// order is one line to the cloud, report one line back.
type (
	order struct {
		Run     time.Duration // make calls for so long, at Rate a second, and report at once
		Rate    float64
		Rotate  bool              // sign with a new key from now on
		Targets []graphsim.Target // what the public names resolve to from now on
		Died    []string          // nodes whose processes are gone without warning
		Settle  bool              // wait until all calls are over, then report
		Fates   bool              // tell of each call, too
	}
	answer struct {
		OpenIDURL, TokenURL, GraphURL string
		Bots                          map[string]string // node to the URL of its bot
		Report                        graphsim.Report
		Fates                         map[string]graphsim.Fate
		Err                           string
	}
)

// runCloud is the calling cloud's process: it ends when its orders end.
func runCloud(settingsFile string, in io.Reader, out io.Writer) error {
	text, err := os.ReadFile(settingsFile)
	if err != nil {
		return err
	}
	var s cloudSettings
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	cfg, err := s.config()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cloud, err := graphsim.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer cloud.Close()
	a := answer{OpenIDURL: cloud.OpenIDURL(), TokenURL: cloud.TokenURL(), GraphURL: cloud.GraphURL(), Bots: map[string]string{}}
	for _, t := range s.Targets {
		a.Bots[t.Node] = cloud.Bot(t.Node).URL
	}
	orders, answers := json.NewDecoder(in), json.NewEncoder(out)
	load := make(chan error, 1)
	load <- nil // no load is under way
	for {
		if err := answers.Encode(a); err != nil {
			return err
		}
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		a.Err, a.Fates = "", nil
		switch {
		case o.Run > 0:
			if err := <-load; err != nil {
				return err
			}
			go func() { load <- cloud.Run(ctx, graphsim.Load{Rate: o.Rate, Duration: o.Run}) }()
		case o.Rotate:
			if err := cloud.RotateKeys(graphsim.RotateOverlap); err != nil {
				return err
			}
		case o.Targets != nil:
			if err := cloud.SetTargets(o.Targets); err != nil {
				return err
			}
		case len(o.Died) > 0:
			for _, node := range o.Died {
				cloud.NodeDied(node)
			}
		case o.Settle:
			if err := settle(ctx, cloud, load); err != nil {
				a.Err = err.Error()
			}
		}
		if a.Report = cloud.Report(); o.Fates {
			a.Fates = cloud.Fates()
		}
	}
}

// settle waits for the end of the load and of its calls.
func settle(ctx context.Context, cloud *graphsim.Cloud, load chan error) error {
	err := <-load
	load <- err
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	return cloud.Settle(ctx)
}

// config is an unkind cloud that speaks TLS in both directions.
func (s cloudSettings) config() (graphsim.Config, error) {
	pair, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
	if err != nil {
		return graphsim.Config{}, err
	}
	ca, err := os.ReadFile(s.CAFile)
	if err != nil {
		return graphsim.Config{}, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return graphsim.Config{}, fmt.Errorf("%s holds no certificate", s.CAFile)
	}
	rates := graphsim.Unkind()
	rates.Astray = s.Astray
	if s.Willing {
		rates.BotFails, rates.CallsFail = 0, 0
	}
	rates.Wander = 0.1 // the rules name a region for every call
	return graphsim.Config{
		Listen: s.Listen, Targets: s.Targets, RegionURLs: s.RegionURLs, Seed: s.Seed, Rates: &rates, Capacity: capacity,
		Apps: []graphsim.App{{ID: appID, ClientSecret: appSecret}},
		// Once in the story is enough: a node asks for keys that it does not know
		// once a minute, so that a flood of them costs nothing.
		Switches: graphsim.Switches{KeepKey: true},
		Timings:  graphsim.Timings{TalkMin: time.Second, TalkMax: 5 * time.Second},
		Remember: true,
		TLS:      &tls.Config{RootCAs: roots},
		ServeTLS: &tls.Config{Certificates: []tls.Certificate{pair}},
	}, nil
}

// cloud steers the calling cloud on its machine.
type cloud struct {
	t       *testing.T
	process *exec.Cmd
	orders  *json.Encoder
	answers *json.Decoder
	first   answer
}

// startCloud starts this test program once more, on the cloud's machine.
func startCloud(t *testing.T, n *network, s cloudSettings) *cloud {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	settings := filepath.Join(folder, "cloud.json")
	if err := os.WriteFile(settings, text, 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &cloud{t: t, process: n.command(context.Background(), "cloud", self)}
	c.process.Env = append(os.Environ(), cloudVariable+"="+settings)
	c.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(filepath.Join(folder, "cloud.log"))
	if err != nil {
		t.Fatal(err)
	}
	c.process.Stderr = log
	in, err := c.process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.process.Start(); err != nil {
		t.Fatal(err)
	}
	c.orders, c.answers = json.NewEncoder(in), json.NewDecoder(out)
	t.Cleanup(func() {
		_ = in.Close() // the end of its orders
		late := time.AfterFunc(patience, func() { _ = c.process.Process.Kill() })
		defer late.Stop()
		if err := c.process.Wait(); err != nil {
			text, _ := os.ReadFile(log.Name())
			t.Errorf("the calling cloud ended with %v: %s", err, text)
		}
		_ = log.Close()
	})
	c.first = c.hear()
	return c
}

// tell gives an order and waits for the answer.
func (c *cloud) tell(o order) graphsim.Report {
	c.t.Helper()
	if err := c.orders.Encode(o); err != nil {
		c.t.Fatalf("giving the cloud an order: %v", err)
	}
	return c.hear().Report
}

// fates tells of each call since the beginning.
func (c *cloud) fates() map[string]graphsim.Fate {
	c.t.Helper()
	if err := c.orders.Encode(order{Fates: true}); err != nil {
		c.t.Fatalf("giving the cloud an order: %v", err)
	}
	return c.hear().Fates
}

func (c *cloud) hear() answer {
	c.t.Helper()
	var a answer
	if err := c.answers.Decode(&a); err != nil {
		c.t.Fatalf("hearing the cloud: %v", err)
	}
	if a.Err != "" {
		c.t.Errorf("the cloud: %s", a.Err)
	}
	return a
}
