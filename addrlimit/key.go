package addrlimit

import "net/netip"

// Key returns the address under which a remote address, "host:port" as of a
// connection, counts: see Of. Unreadable ones count together, as the zero address.
func Key(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return Of(ap.Addr())
}

// Of returns the address under which another one counts: an IPv6 address shares its
// /64's, which is what one caller is given.
func Of(addr netip.Addr) netip.Addr {
	addr = Plain(addr)
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return addr
}

// Plain returns an address in its one spelling: IPv4 in IPv6 is IPv4, and no zone.
func Plain(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }
