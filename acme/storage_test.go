package acme

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"tandem/ownership"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// region is a table that all nodes see at once, but for what lags.
type region struct {
	mu   sync.Mutex
	all  []ownership.Deposit
	down bool // no leader
	lost int  // so many replies get lost, and the act is repeated
}

func (r *region) Deposits() []ownership.Deposit {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all
}

func (r *region) Format() uint32 { return ownership.FormatDeposits }

func (r *region) Do(_ context.Context, act ownership.Act) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return ownership.ErrNoLeader
	}
	err := r.set(act.(ownership.SetDeposit))
	if r.lost > 0 {
		r.lost--
		return r.set(act.(ownership.SetDeposit))
	}
	return err
}

func (r *region) set(a ownership.SetDeposit) error {
	i, found := ownership.FindDeposit(r.all, a.Name)
	var have ownership.Deposit
	if found {
		have = r.all[i]
	}
	if a.Expect != ownership.AnyDeposit && a.Expect != have.Digest() {
		return ownership.ErrConflict
	}
	list := slices.Clone(r.all)
	if found {
		list = slices.Delete(list, i, i+1)
	}
	if len(a.Value) > 0 {
		list = slices.Insert(list, i, ownership.Deposit{Name: a.Name, Value: a.Value, At: time.Now()})
	}
	r.all = list
	return nil
}

var (
	oldKey = bytes.Repeat([]byte{1}, 32)
	newKey = bytes.Repeat([]byte{2}, 32)
)

// node is one node's storage; its process ends with ctx.
func (r *region) node(ctx context.Context, name string, keys ...[]byte) *storage {
	if keys == nil {
		keys = [][]byte{oldKey}
	}
	return newStorage(ctx, Config{Node: name, Table: r, Do: r.Do, Keys: func() [][]byte { return keys }, Logger: slog.New(slog.DiscardHandler), Pace: Pace{}.filled()})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestTheTableIsAStorage: certmagic's keys are files in folders, and what one node stores
// another one loads.
func TestTheTableIsAStorage(t *testing.T) {
	ctx := t.Context()
	r := &region{}
	a, b := r.node(ctx, "a"), r.node(ctx, "b")
	for _, key := range []string{"certs/le/x.test/x.test.crt", "certs/le/x.test/x.test.key", "certs/le/y.test/y.test.crt", "certs/lead/z.test", "users/ops"} {
		must(t, a.Store(ctx, key, []byte(key+"'s value")))
	}
	must(t, a.Store(ctx, "users/ops", []byte("two")))
	if v, err := b.Load(ctx, "users/ops"); err != nil || string(v) != "two" {
		t.Errorf("loaded %q, %v", v, err)
	}
	if _, err := b.Load(ctx, "users"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("loading a folder: %v", err)
	}
	for key, there := range map[string]bool{"users/ops": true, "users": true, "user": false, "certs/le": true, "certs/le/x": false} {
		if b.Exists(ctx, key) != there {
			t.Errorf("%s exists: %v", key, !there)
		}
	}
	list := func(path string, recursive bool, want ...string) {
		t.Helper()
		if got, err := b.List(ctx, path, recursive); err != nil || !cmp.Equal(got, want) {
			t.Errorf("below %q are %q, %v", path, got, err)
		}
	}
	list("certs/le", false, "certs/le/x.test", "certs/le/y.test")
	list("certs/le/", true, "certs/le/x.test/x.test.crt", "certs/le/x.test/x.test.key", "certs/le/y.test/y.test.crt")
	list("", false, "certs", "users")
	if _, err := b.List(ctx, "none", true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("listing nothing: %v", err)
	}
	if i, err := b.Stat(ctx, "users/ops"); err != nil || !i.IsTerminal || i.Modified.IsZero() {
		t.Errorf("users/ops is %+v, %v", i, err)
	}
	if i, err := b.Stat(ctx, "certs/le"); err != nil || i.IsTerminal {
		t.Errorf("certs/le is %+v, %v", i, err)
	}
	must(t, b.Delete(ctx, "certs/le"))
	must(t, b.Delete(ctx, "certs/le"))
	list("", true, "certs/lead/z.test", "users/ops")
	for _, d := range r.Deposits() {
		if strings.Contains(string(d.Value), "value") {
			t.Errorf("%s is not sealed: %q", d.Name, d.Value)
		}
	}
}

// TestOneNodeOrdersAtATime: of three nodes one has the lock, through lost replies and a
// region without a leader.
func TestOneNodeOrdersAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &region{lost: 2}
		ctx, end := context.WithCancel(context.Background())
		var all sync.WaitGroup
		var mu sync.Mutex
		inside, turns := 0, 0
		for _, name := range []string{"a", "b", "c"} {
			s := r.node(ctx, name)
			all.Go(func() {
				for range 3 {
					must(t, s.Lock(ctx, "order"))
					mu.Lock()
					if inside++; inside > 1 {
						t.Error("two nodes have the lock")
					}
					turns++
					mu.Unlock()
					time.Sleep(time.Minute) // far longer than a lock without a sign of life lives
					mu.Lock()
					inside--
					mu.Unlock()
					must(t, s.Unlock(ctx, "order"))
				}
			})
		}
		time.Sleep(90 * time.Second)
		r.mu.Lock()
		r.down = true
		r.mu.Unlock()
		time.Sleep(10 * time.Second)
		r.mu.Lock()
		r.down = false
		r.mu.Unlock()
		all.Wait()
		end()
		if turns != 9 || len(r.Deposits()) != 0 {
			t.Errorf("there were %d turns, left are %d deposits", turns, len(r.Deposits()))
		}
	})
}

// TestADeadNodesLockIsTakenOver: one that ended with a lock loses it after a while; one
// that only stood still, too, and then takes nobody's.
func TestADeadNodesLockIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &region{}
		ctx, end := context.WithCancel(context.Background())
		defer end()
		dead, kill := context.WithCancel(ctx)
		a, b := r.node(dead, "a"), r.node(ctx, "b")
		must(t, a.Lock(ctx, "order"))
		kill()
		began := time.Now()
		must(t, b.Lock(ctx, "order"))
		if took := time.Since(began); took < 20*time.Second || took > 22*time.Second {
			t.Errorf("the lock was taken over after %s", took)
		}
		if err := a.Unlock(context.Background(), "order"); err != nil {
			t.Errorf("giving back what another one has: %v", err)
		}
		if len(r.Deposits()) != 1 {
			t.Error("a node gave another one's lock back")
		}
		waiting, giveUp := context.WithTimeout(ctx, time.Second)
		defer giveUp()
		if err := r.node(ctx, "c").Lock(waiting, "order"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a lock that somebody has: %v", err)
		}
		again := r.node(ctx, "b")
		atOnce, late := context.WithTimeout(ctx, look)
		defer late()
		if err := again.Lock(atOnce, "order"); err != nil {
			t.Errorf("the lock of the node's own last process: %v", err)
		}
		waiting, giveUp = context.WithTimeout(ctx, time.Second)
		defer giveUp()
		if err := again.Lock(waiting, "order"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a lock that the node's own process has: %v", err)
		}
		again.release()
		if len(r.Deposits()) != 0 {
			t.Error("a node that stops keeps its lock")
		}
	})
}

// TestSealsFollowTheKeys: what the old first key sealed is readable as long as the key is
// there, and is sealed anew with the new one meanwhile.
func TestSealsFollowTheKeys(t *testing.T) {
	ctx := t.Context()
	r := &region{}
	must(t, r.node(ctx, "a").Store(ctx, "x.key", []byte("secret")))
	both := r.node(ctx, "b", newKey, oldKey)
	if v, err := both.Load(ctx, "x.key"); err != nil || string(v) != "secret" {
		t.Errorf("with both keys: %q, %v", v, err)
	}
	only := r.node(ctx, "c", newKey)
	if _, err := only.Load(ctx, "x.key"); !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, errSealed) || only.Exists(ctx, "x.key") {
		t.Errorf("without its key: %v", err)
	}
	both.reseal(ctx)
	if v, err := only.Load(ctx, "x.key"); err != nil || string(v) != "secret" {
		t.Errorf("sealed anew: %q, %v", v, err)
	}
	before := r.Deposits()
	both.reseal(ctx)
	if !cmp.Equal(before, r.Deposits()) {
		t.Error("what the first key sealed was sealed again")
	}
	if _, err := unseal([][]byte{newKey}, "acme/other.key", r.Deposits()[0].Value); !errors.Is(err, errSealed) {
		t.Errorf("under another name: %v", err)
	}
}

// TestATokenIsWaitedFor: the authority may ask before this node's table has the token.
func TestATokenIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &region{}
		ctx := context.Background()
		a, b := r.node(ctx, "a"), r.node(ctx, "b")
		const key = "acme/le/challenge_tokens/x.test.json"
		go func() {
			time.Sleep(500 * time.Millisecond)
			must(t, a.Store(ctx, key, []byte("token")))
		}()
		if v, err := b.Load(ctx, key); err != nil || string(v) != "token" {
			t.Errorf("loaded %q, %v", v, err)
		}
		began := time.Now()
		if _, err := b.Load(ctx, strings.Replace(key, "x", "y", 1)); !errors.Is(err, fs.ErrNotExist) || time.Since(began) > 2*challengeWait {
			t.Errorf("a token that nobody stored: %v after %s", err, time.Since(began))
		}
	})
}

// TestFailuresPaceTheRegion: after a failed order no node orders for a while, each time
// longer, up to an hour; a certificate that comes ends that.
func TestFailuresPaceTheRegion(t *testing.T) {
	ctx := t.Context()
	r := &region{}
	a, b := notes{r.node(ctx, "a")}, notes{r.node(ctx, "b")}
	now := time.Now()
	if err := b.early("x.test", now); err != nil {
		t.Errorf("the first order: %v", err)
	}
	for _, pause := range []time.Duration{2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute, time.Hour, time.Hour} {
		must(t, a.fail(ctx, "x.test", errors.New("the name\nis  unknown")))
		if err := b.early("x.test", time.Now().Add(pause-time.Second)); err == nil || !strings.Contains(err.Error(), "failed at node a") {
			t.Errorf("a second before %s are over: %v", pause, err)
		}
		if err := b.early("x.test", time.Now().Add(pause)); err != nil {
			t.Errorf("after %s: %v", pause, err)
		}
	}
	if note, failed := b.of("x.test"); !failed || note.Failures != 7 || note.Error != "the name is unknown" {
		t.Errorf("the note is %+v", note)
	}
	if err := b.early("y.test", now); err != nil {
		t.Errorf("another host: %v", err)
	}
	must(t, b.came(ctx, "x.test"))
	must(t, b.came(ctx, "x.test"))
	if err := a.early("x.test", now); err != nil || len(r.Deposits()) != 0 {
		t.Errorf("after one came: %v, %d deposits", err, len(r.Deposits()))
	}
}

// FuzzUnseal: no bytes but those that were sealed open, and none make it fall.
func FuzzUnseal(f *testing.F) {
	g, err := gcm(oldKey)
	if err != nil {
		f.Fatal(err)
	}
	nonce := make([]byte, g.NonceSize()) // the same in each process of the fuzzer
	good := g.Seal(nonce, nonce, []byte("v"), []byte("n"))
	f.Add([]byte(nil))
	f.Add(good)
	f.Add(good[:13])
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := unseal([][]byte{newKey, oldKey}, "n", b); (err == nil) != bytes.Equal(b, good) {
			t.Errorf("%x opens as %q, %v", b, v, err)
		}
	})
}
