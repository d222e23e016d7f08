package spelling

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
)

// PublicURL takes the base URL of a node or a region. Callers are sent to it and
// callback URIs begin with it, so it is https, a host that is a machine's own address
// or name, and perhaps a path; no user, no query, nothing that needs an escape. http is
// for loopback, and for names below .localhost (RFC 6761): no node sends a secret there.
func PublicURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || len(s) > maxText || strings.ContainsAny(s, "\\ \t\r\n"):
		return errors.New("is no URL")
	case u.Scheme != "https" && (u.Scheme != "http" || !Loopback(u.Hostname()) && !strings.HasSuffix(u.Hostname(), ".localhost")):
		return errors.New("is not https (http is for loopback only)")
	case u.Opaque != "" || u.Hostname() == "":
		return errors.New("names no host")
	case u.User != nil || strings.ContainsAny(s, "@?#"):
		return errors.New("holds more than scheme, host, port and path")
	case u.String() != s || u.Path != "" && !IsPath(u.Path):
		return errors.New("is not in plain spelling: no escapes, no empty or dotted segments, no / at the end")
	case !machineHost(u.Hostname()):
		return errors.New("does not name a machine: its host is a link-local, multicast or metadata address, or a number")
	}
	return nil
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
