package ownership

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// CheckPublicURL says why a node may not have the base URL. Callers are sent to
// it and callback URIs begin with it, so it is https (http on loopback addresses
// only), a host that is a machine's own address or name, and perhaps a path of
// plain segments; no user, no query, nothing that needs an escape.
func CheckPublicURL(s string) error {
	fail := func(why string) error { return fmt.Errorf("the public URL %q %s", s, why) }
	u, err := url.Parse(s)
	switch {
	case err != nil || len(s) > 512 || strings.ContainsAny(s, "\\ \t\r\n"):
		return fail("cannot be read")
	case u.Scheme != "https" && (u.Scheme != "http" || !loopbackHost(u.Hostname())):
		return fail("is not https (http is for loopback addresses only)")
	case u.Opaque != "" || u.Hostname() == "":
		return fail("names no host")
	case u.User != nil || strings.ContainsAny(s, "@?#"):
		return fail("holds more than scheme, host, port and path")
	case u.String() != s || !plainPath(u.Path):
		return fail("is not in plain spelling: no escapes, no empty or dotted segments, no / at the end")
	case !machineHost(u.Hostname()):
		return fail("does not name a machine: its host is a link-local, multicast or metadata address, or a number")
	}
	return nil
}

func loopbackHost(name string) bool {
	if name == "localhost" || strings.HasSuffix(name, ".localhost") { // RFC 6761
		return true
	}
	a, err := netip.ParseAddr(name)
	return err == nil && a.Unmap().IsLoopback()
}

// metadataAddrs are those of cloud metadata services that are not link-local:
// Azure's, Alibaba's and Amazon's over IPv6.
var metadataAddrs = map[netip.Addr]bool{
	netip.MustParseAddr("168.63.129.16"):   true,
	netip.MustParseAddr("100.100.100.200"): true,
	netip.MustParseAddr("fd00:ec2::254"):   true,
}

// machineHost refuses addresses that no node can have. A name whose last label
// begins with a digit is refused too: many programs read 2852039166 as
// 169.254.169.254 (WHATWG URL, "ends in a number").
func machineHost(name string) bool {
	a, err := netip.ParseAddr(name)
	if err != nil {
		last := name[strings.LastIndexByte(name, '.')+1:]
		return last != "" && (last[0] < '0' || last[0] > '9')
	}
	a = a.Unmap().WithZone("")
	return !a.IsLinkLocalUnicast() && !a.IsMulticast() && !a.IsUnspecified() && !metadataAddrs[a]
}

// plainPath takes the empty path and /a/b: segments of unreserved characters
// (RFC 3986, 2.3).
func plainPath(p string) bool {
	if p == "" {
		return true
	}
	if p[0] != '/' {
		return false
	}
	for s := range strings.SplitSeq(p[1:], "/") {
		if s == "" || s == "." || s == ".." || strings.ContainsFunc(s, func(c rune) bool { return !unreserved(c) }) {
			return false
		}
	}
	return true
}

func unreserved(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-._~", c)
}
