// Package spelling says how names, paths, addresses and URLs are spelled: one rule
// each, for what users write and for what nodes tell each other.
//
// An error is the rest of a sentence that begins with a key: "is not https". Those
// about URLs repeat none, for it may hold a password.
package spelling

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"runtime"
	"strconv"
	"strings"
)

// maxName is the length of a label of DNS: a region stands in callback URIs, and
// often in host names.
const maxName = 63

// maxText bounds paths and URLs, in bytes.
const maxText = 512

// maxVersion bounds what a bot calls its version, in bytes.
const maxVersion = 64

var guid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// Name takes what deployments, regions, nodes and profiles are called.
func Name(s string) error {
	bad := func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' }
	if s == "" || len(s) > maxName || s[0] == '-' || s[len(s)-1] == '-' || strings.ContainsFunc(s, bad) {
		return fmt.Errorf("is %.80q: write 1 to %d of a-z, 0-9 and dashes, a letter or digit first and last", s, maxName)
	}
	return nil
}

// GUID takes the id of an app or a tenant as the calling service writes it.
func GUID(s string) error {
	if !guid.MatchString(s) {
		return fmt.Errorf("is %.80q: write a GUID in lower case, such as 0efc74f7-41c3-47a4-8775-7259bfef4241", s)
	}
	return nil
}

// Version takes what a bot calls its version.
func Version(s string) error {
	word := func(c rune) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' }
	if s == "" || len(s) > maxVersion || !word(rune(s[0])) || strings.ContainsFunc(s, func(c rune) bool { return !word(c) && !strings.ContainsRune("._+-", c) }) {
		return fmt.Errorf("is %.80q: write 1 to %d letters, digits and ._+-, a letter or digit first, such as 2.4.1", s, maxVersion)
	}
	return nil
}

// Path takes /a/b, which every router and proxy spells alike: segments of unreserved
// characters (RFC 3986, 2.3), none of them empty or dots only.
func Path(s string) error {
	if !IsPath(s) {
		return fmt.Errorf("is %.80q: write a plain path such as /api/calls: segments of letters, digits and -._~, none of them . or .., no slash at the end", s)
	}
	return nil
}

// IsPath reports what Path says.
func IsPath(s string) bool {
	if len(s) < 2 || len(s) > maxText || s[0] != '/' {
		return false
	}
	for segment := range strings.SplitSeq(s[1:], "/") {
		if segment == "" || segment == "." || segment == ".." || strings.ContainsFunc(segment, reserved) {
			return false
		}
	}
	return true
}

func reserved(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-._~", c)
}

// Listen takes the host:port of a listener; port 0 picks one, an empty host is all.
func Listen(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("is %.80q: write host:port", s)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("is %.80q: the port is no number up to 65535", s)
	}
	return nil
}

// Dialable takes a host:port at which other machines may reach one.
func Dialable(s string) error {
	if err := Listen(s); err != nil {
		return err
	}
	host, port, _ := net.SplitHostPort(s)
	if n, _ := strconv.Atoi(port); n == 0 {
		return fmt.Errorf("is %s: nobody can dial that port; write the one at which the other nodes reach it", s)
	}
	if Unspecified(host) {
		return fmt.Errorf("is %s: that is no address of one machine; write the one at which the other nodes reach it", s)
	}
	return nil
}

// Unspecified reports whether a host is all addresses of a machine, or none.
func Unspecified(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "" || err == nil && a.Unmap().IsUnspecified()
}

// Loopback reports whether a host or host:port surely stays on this machine: it is
// localhost or a loopback address. Other names are none, not those below .localhost
// either: what they resolve to may change.
func Loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// URL reads an address that requests, and often secrets, are sent to: https, or http
// on loopback.
func URL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || len(s) > 4*maxText:
		return nil, errors.New("is no URL")
	case u.Opaque != "" || u.Hostname() == "":
		return nil, errors.New("names no server")
	case u.User != nil:
		return nil, errors.New("holds a user name or password")
	case u.Fragment != "":
		return nil, errors.New("holds a fragment")
	case u.Scheme != "https" && (u.Scheme != "http" || !Loopback(u.Hostname())):
		return nil, errors.New("is not https (http is for loopback only)")
	}
	return u, nil
}

// BaseURL reads a URL that paths are written behind: it has no query.
func BaseURL(s string) (*url.URL, error) {
	u, err := URL(s)
	if err == nil && (u.RawQuery != "" || u.ForceQuery) {
		return nil, errors.New("holds a query")
	}
	return u, err
}

// MetadataURL reads the base URL of a machine's metadata service: the link-local address
// that it has on every machine of Azure, in plain http, or what BaseURL takes. The name
// stands for nothing else: whoever may write another link-local address there could have a
// token of the machine sent to whoever sits at it.
func MetadataURL(s string) (*url.URL, error) {
	if u, err := url.Parse(s); err == nil && *u == (url.URL{Scheme: "http", Host: "169.254.169.254"}) {
		return u, nil
	}
	return BaseURL(s)
}

// MaxCallID is the longest id of a call, in bytes; real ones have 32 or 36.
const MaxCallID = 128

// CallID takes the id of a call as the cloud writes it, and gives the one spelling by
// which the call is known: lower case, no dashes. One documentation page spells the same
// call 57DAB8B1894C… and 57dab8b1-894c-…. Ids reach paths, keys and logs.
func CallID(s string) (string, error) {
	if len(s) == 0 || len(s) > MaxCallID {
		return "", fmt.Errorf("has %d bytes, allowed are 1 to %d", len(s), MaxCallID)
	}
	b, clean := make([]byte, 0, MaxCallID), true
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case c >= 'A' && c <= 'Z':
			c, clean = c+'a'-'A', false
		case c == '-':
			clean = false
			continue
		default:
			return "", fmt.Errorf("holds at byte %d what is outside [A-Za-z0-9-]", i)
		}
		b = append(b, c)
	}
	if len(b) == 0 {
		return "", errors.New("holds nothing but dashes")
	}
	if !clean {
		return string(b), nil
	}
	return s, nil
}

// AnyoneMay reports whether a file's mode lets everybody on the machine do one of what the
// bits of the last digit say. Windows has lists of rights in the place of modes, which Go
// does not read: there no file counts as open.
func AnyoneMay(mode, bits fs.FileMode) bool {
	return runtime.GOOS != "windows" && mode.Perm()&bits != 0
}
