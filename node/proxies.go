package node

import (
	"fmt"
	"net/netip"
)

// proxies returns the networks of the trusted proxies; an address alone is one, too.
func (p Public) proxies() ([]netip.Prefix, error) {
	var all []netip.Prefix
	for i, s := range p.TrustedProxies {
		n, err := netip.ParsePrefix(s)
		if a, bad := netip.ParseAddr(s); bad == nil && a.Zone() == "" {
			n, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("public.trusted_proxies[%d] is %q: write a network such as 10.0.0.0/8, or an address", i, s)
		}
		if n.Bits() == 0 {
			return nil, fmt.Errorf("public.trusted_proxies[%d] is %s, everybody: then any caller may say any address of himself; name the proxies' networks", i, s)
		}
		all = append(all, n.Masked())
	}
	return all, nil
}
