package webhook

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/ownership"
	"tandem/spelling"
)

var sampleHandle = Handle{Region: "emea", Partition: 7, Epoch: 3, Ref: "57dab8b1894c409ab240bd8beae78896"}

func TestSignAndVerify(t *testing.T) {
	h := testKeys()
	s := h.Sign(sampleHandle)
	if err := h.Verify(sampleHandle, s); err != nil || len(s) != len("k1.")+22 {
		t.Fatalf("%q: %v", s, err)
	}
	id, mac, _ := strings.Cut(s, ".")
	flip := func(i int) string {
		b := []byte(mac)
		if b[i] == 'A' {
			b[i] = 'B'
		} else {
			b[i] = 'A'
		}
		return id + "." + string(b)
	}
	for name, c := range map[string]struct {
		of Handle
		s  string
	}{
		"another region":       {Handle{Region: "amer", Partition: 7, Epoch: 3, Ref: sampleHandle.Ref}, s},
		"another partition":    {Handle{Region: "emea", Partition: 8, Epoch: 3, Ref: sampleHandle.Ref}, s},
		"another epoch":        {Handle{Region: "emea", Partition: 7, Epoch: 4, Ref: sampleHandle.Ref}, s},
		"another call":         {Handle{Region: "emea", Partition: 7, Epoch: 3, Ref: "57dab8b1894c409ab240bd8beae78897"}, s},
		"digits moved":         {Handle{Region: "emea", Partition: 73, Epoch: 0, Ref: sampleHandle.Ref}, s},
		"first letter":         {sampleHandle, flip(0)},
		"last letter":          {sampleHandle, flip(21)},
		"unknown key":          {sampleHandle, "k9." + mac},
		"no key":               {sampleHandle, mac},
		"empty":                {sampleHandle, ""},
		"truncated":            {sampleHandle, s[:len(s)-1]},
		"longer":               {sampleHandle, s + "A"},
		"padded":               {sampleHandle, s + "=="},
		"standard alphabet":    {sampleHandle, id + "." + strings.Repeat("+", 22)},
		"a line break":         {sampleHandle, id + "." + mac[:21] + "\n"},
		"a hop mark's signing": {sampleHandle, strings.SplitN(h.Mark("emea", "x", Mark{RegionHop: true, Received: time.Now(), Expires: time.Now().Add(time.Minute)}), ".", 4)[3]},
	} {
		if err := h.Verify(c.of, c.s); !errors.Is(err, ErrForged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPurposes: the signed texts of handles and hop marks can never be equal.
func TestPurposes(t *testing.T) {
	handle := string(Handle{}.append(nil))
	mark := string(appendMarked(nil, "", "", nil))
	h, _, _ := strings.Cut(handle, "\n")
	m, _, _ := strings.Cut(mark, "\n")
	if h == m || h == "" || m == "" {
		t.Errorf("they begin with %q and %q", h, m)
	}
}

// TestNonCanonicalTail: the last letter of 22 carries two free bits; only one of
// its four spellings counts.
func TestNonCanonicalTail(t *testing.T) {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	s := testKeys().Sign(sampleHandle)
	good := 0
	for _, c := range letters {
		if testKeys().Verify(sampleHandle, s[:len(s)-1]+string(c)) == nil {
			good++
		}
	}
	if good != 1 {
		t.Errorf("%d spellings of one signature", good)
	}
}

// TestRotation: the first key signs, all verify, a key that is gone does not.
func TestRotation(t *testing.T) {
	a, b := Key{"a", secret(1)}, Key{"b", secret(2)}
	h, err := NewHandles([]Key{a})
	if err != nil {
		t.Fatal(err)
	}
	old := h.Sign(sampleHandle)
	if err := h.Replace([]Key{b, a}); err != nil {
		t.Fatal(err)
	}
	fresh := h.Sign(sampleHandle)
	if !strings.HasPrefix(fresh, "b.") || h.Verify(sampleHandle, old) != nil || h.Verify(sampleHandle, fresh) != nil {
		t.Errorf("old %s, fresh %s", old, fresh)
	}
	if err := h.Replace(nil); err == nil || h.Verify(sampleHandle, fresh) != nil {
		t.Error("a bad list of keys was taken, or has hurt the good one")
	}
	if err := h.Replace([]Key{b}); err != nil || h.Verify(sampleHandle, old) == nil {
		t.Errorf("a withdrawn key still verifies: %v", err)
	}
	// The same id with another secret is another key.
	if err := h.Replace([]Key{{"b", secret(3)}}); err != nil || h.Verify(sampleHandle, fresh) == nil {
		t.Errorf("another secret verifies: %v", err)
	}
}

func TestParseHandle(t *testing.T) {
	for _, c := range []struct {
		region, partition, epoch, ref string
		ok                            bool
	}{
		{"emea", "1", "1", "c1", true},
		{"eu-north-1", "4294967295", "18446744073709551615", strings.Repeat("a", 128), true},
		{"emea", "1", "1", "o-aB_-9", true},
		{"", "1", "1", "c1", false},
		{"EMEA", "1", "1", "c1", false},
		{"em/ea", "1", "1", "c1", false},
		{strings.Repeat("e", 64), "1", "1", "c1", false},
		{"emea", "0", "1", "c1", false},
		{"emea", "01", "1", "c1", false},
		{"emea", "+1", "1", "c1", false},
		{"emea", "-1", "1", "c1", false},
		{"emea", "1e1", "1", "c1", false},
		{"emea", "4294967296", "1", "c1", false},
		{"emea", "1", "18446744073709551616", "c1", false},
		{"emea", "1", "0", "c1", false},
		{"emea", "1", "", "c1", false},
		{"emea", "1", "1", "", false},
		{"emea", "1", "1", "C1", false},
		{"emea", "1", "1", "c-1", false},
		{"emea", "1", "1", "o-", false},
		{"emea", "1", "1", "o-a.b", false},
		{"emea", "1", "1", "..", false},
		{"emea", "1", "1", "c1\n", false},
		{"emea", "1", "1", "с1", false},
		{"emea", "1", "1", strings.Repeat("a", 129), false},
	} {
		h, err := ParseHandle(c.region, c.partition, c.epoch, c.ref)
		if (err == nil) != c.ok {
			t.Errorf("%+v: %+v, %v", c, h, err)
		}
	}
}

// TestKeyFiles: what LoadHandles takes and what it refuses.
func TestKeyFiles(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	strong, other := b64(secret(1)), b64(secret(2))
	for _, c := range []struct {
		name, text string
		mode       os.FileMode
		ok         string // "" for good, else part of the error
	}{
		{"one key", "k1:" + strong + "\n", 0o600, ""},
		{"two keys, comments, no padding, group may read", "# new first\nk2:" + strings.TrimRight(other, "=") + "\n\n k1 : " + strong + " \r\n", 0o640, ""},
		{"the URL alphabet", "k1:" + base64.RawURLEncoding.EncodeToString(secret(9)), 0o600, ""},
		{"everybody may read", "k1:" + strong, 0o644, "everybody"},
		{"everybody may write", "k1:" + strong, 0o602, "everybody"},
		{"empty", "", 0o600, "none"},
		{"only comments", "# k1:" + strong, 0o600, "none"},
		{"no colon", strong, 0o600, "line 1"},
		{"not base64", "# x\nk1:%%%CANARY", 0o600, "line 2"},
		{"too short", "k1:" + b64(secret(1)[:31]), 0o600, "31 bytes"},
		{"all zeros", "k1:" + b64(make([]byte, 32)), 0o600, "not random"},
		{"a word repeated", "k1:" + b64([]byte(strings.Repeat("changeme", 4))), 0o600, "not random"},
		{"the same id twice", "k1:" + strong + "\nk1:" + other, 0o600, "two keys"},
		{"the same secret twice", "k1:" + strong + "\nk2:" + strong, 0o600, "same key"},
		{"a bad id", "k.1:" + strong, 0o600, "id of key 1"},
		{"a long id", strings.Repeat("k", 17) + ":" + strong, 0o600, "id of key 1"},
		{"endless", "k1:" + strong + "\n" + strings.Repeat("#\n", 40000), 0o600, "longer than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "keys")
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(file, c.mode); err != nil {
				t.Fatal(err)
			}
			_, err := LoadHandles(file)
			switch {
			case c.ok == "" && err != nil:
				t.Error(err)
			case c.ok != "" && (err == nil || !strings.Contains(err.Error(), c.ok)):
				t.Errorf("got %v, want an error with %q", err, c.ok)
			case err != nil && (strings.Contains(err.Error(), "CANARY") || strings.Contains(err.Error(), strong[:10])):
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
	if _, err := LoadHandles(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := LoadHandles(t.TempDir()); err == nil {
		t.Error("a directory was taken for a file of keys")
	}
}

func TestHopMarks(t *testing.T) {
	h := testKeys()
	now := time.UnixMilli(1_800_000_000_000)
	m := Mark{RegionHop: true, NodeHop: true, Received: now.Add(-time.Second), Expires: now.Add(MarkLife)}
	s := h.Mark("emea", "c1", m)
	got, err := h.ReadMark("emea", "c1", s, now)
	if err != nil || !got.Received.Equal(m.Received) || !got.Expires.Equal(m.Expires) || !got.RegionHop || !got.NodeHop {
		t.Fatalf("%+v, %v", got, err)
	}
	text, signed, _ := cutMark(s)
	again := func(text string) string { return text + "." + signed }
	for name, c := range map[string]struct {
		region ownership.Region
		call   ownership.CallID
		s      string
		at     time.Time
	}{
		"another region":        {"amer", "c1", s, now},
		"another call":          {"emea", "c2", s, now},
		"at its expiry":         {"emea", "c1", s, m.Expires},
		"long after":            {"emea", "c1", s, now.Add(time.Hour)},
		"fewer hops":            {"emea", "c1", again(strings.Replace(text, "rn.", "r.", 1)), now},
		"other hops":            {"emea", "c1", again("x" + text), now},
		"no hops":               {"emea", "c1", again(strings.TrimPrefix(text, "rn")), now},
		"later expiry":          {"emea", "c1", again(text + "0"), now},
		"upper-case time":       {"emea", "c1", again("rn" + strings.ToUpper(text[2:])), now},
		"a handle's signature":  {"emea", "c1", text + "." + h.Sign(sampleHandle), now},
		"empty":                 {"emea", "c1", "", now},
		"dots":                  {"emea", "c1", "....", now},
		"no signature":          {"emea", "c1", text, now},
		"endless":               {"emea", "c1", strings.Repeat("r", 5000) + s, now},
		"received after expiry": {"emea", "c1", h.Mark("emea", "c1", Mark{NodeHop: true, Received: m.Expires.Add(1e6), Expires: m.Expires}), now},
		"neither hop":           {"emea", "c1", h.Mark("emea", "c1", Mark{Received: m.Received, Expires: m.Expires}), now},
	} {
		if got, err := h.ReadMark(c.region, c.call, c.s, c.at); !errors.Is(err, ErrForged) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// FuzzHandle: what parses and verifies is exactly what was signed.
func FuzzHandle(f *testing.F) {
	h := testKeys()
	good := h.Sign(sampleHandle)
	f.Add("emea", "7", "3", sampleHandle.Ref, good)
	f.Add("emea", "07", "3", sampleHandle.Ref, good)
	f.Add("..", "\x00", "%0d", "o-x", "k1.")
	f.Add("emea", "4294967296", "18446744073709551616", "o-", strings.Repeat("a", 300))
	f.Fuzz(func(t *testing.T, region, partition, epoch, ref, s string) {
		of, err := ParseHandle(region, partition, epoch, ref)
		if err != nil {
			return
		}
		if uri := h.CallbackURI("https://b"+hookPath, of); !strings.HasPrefix(uri, "https://b"+hookPath+"/"+region+"/"+partition+"/"+epoch+"/"+ref+"?s=k1.") || !spelling.IsPath(hookPath+"/"+region+"/"+partition+"/"+epoch+"/"+ref) {
			t.Fatalf("%+v has the URI %s", of, uri)
		}
		if h.Verify(of, h.Sign(of)) != nil {
			t.Fatal("its own signature does not verify")
		}
		if h.Verify(of, s) == nil && s != h.Sign(of) {
			t.Fatalf("a second signature of %+v: %q", of, s)
		}
	})
}

// FuzzMark: a mark that is read says what was written, and has one spelling.
func FuzzMark(f *testing.F) {
	h := testKeys()
	now := time.UnixMilli(1_800_000_000_000)
	f.Add("emea", "c1", h.Mark("emea", "c1", Mark{RegionHop: true, Received: now, Expires: now.Add(MarkLife)}))
	f.Add("emea", "c1", "rn.zz.zzz.k1.AAAAAAAAAAAAAAAAAAAAAA")
	f.Add("", "", "r.-1.9223372036854775807.k1.x")
	f.Fuzz(func(t *testing.T, region, call, s string) {
		m, err := h.ReadMark(ownership.Region(region), ownership.CallID(call), s, now)
		if err != nil {
			return
		}
		if again := h.Mark(ownership.Region(region), ownership.CallID(call), m); again != s {
			t.Fatalf("%q is read as %+v, which is written %q", s, m, again)
		}
	})
}

// TestHandleOfAnotherFounding: a region whose data were lost is founded anew under
// its old name, with its old keys. A callback URI of before names a partition that
// has nothing to do with its call.
func TestHandleOfAnotherFounding(t *testing.T) {
	nd := oneNode(t, setup{})
	identity := "ABCDEFGHIJKLMNOP"
	nd.door.identity = func() string { return identity }
	post(t, nd.url+hookPath, incoming("c1"))
	known, _ := nd.Find("c1")
	uri := func() string {
		return nd.url + nd.door.CallbackURI(known.Partition, known.Epoch, "c1")[len(nd.door.cfg.RegionURL):]
	}
	before := uri()
	if a := post(t, before, update("c1")); a.status != 202 {
		t.Fatalf("a callback URI of this founding: %+v", a)
	}
	stripped, _, _ := strings.Cut(before, "&r=")
	for name, to := range map[string]string{"without its mark": stripped, "with another mark": stripped + "&r=zzzzzzzz", "with two": before + "&r=zzzzzzzz", "with an empty one": stripped + "&r="} {
		if a := post(t, to, update("c1")); a.status != 404 {
			t.Errorf("%s: %+v, want 404", name, a)
		}
	}
	identity = "QRSTUVWXYZ234567"
	if a := post(t, before, update("c1")); a.status != 404 {
		t.Errorf("a callback URI of the founding before: %+v, want 404", a)
	}
	if a := post(t, uri(), update("c1")); a.status != 202 {
		t.Errorf("a callback URI of the new founding: %+v", a)
	}
	identity = ""
	old := uri()
	identity = "QRSTUVWXYZ234567"
	if a := post(t, old, update("c1")); a.status != 202 {
		t.Errorf("a callback URI from before the region had an identity: %+v", a)
	}
}

// TestD10_DerivedKeys: a key for another purpose differs by handle key and by purpose,
// tells nothing of the handle key, and follows a change of keys.
func TestD10_DerivedKeys(t *testing.T) {
	one, two := Key{ID: "1", Secret: []byte("0123456789abcdefghijklmnopqrstuv")}, Key{ID: "2", Secret: []byte("vutsrqponmlkjihgfedcba9876543210")}
	h, err := NewHandles([]Key{one, two})
	if err != nil {
		t.Fatal(err)
	}
	a, b := h.Derived("x"), h.Derived("y")
	if len(a) != 2 || bytes.Equal(a[0], a[1]) || bytes.Equal(a[0], b[0]) || bytes.Equal(a[0], one.Secret) || !bytes.Equal(a[0], h.Derived("x")[0]) {
		t.Error("the keys are not one for each handle key and purpose")
	}
	if err := h.Replace([]Key{two}); err != nil {
		t.Fatal(err)
	}
	if now := h.Derived("x"); len(now) != 1 || !bytes.Equal(now[0], a[1]) {
		t.Error("they do not follow a change of keys")
	}
}
