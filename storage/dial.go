package storage

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

// ErrDialDenied is the cause when a DialPolicy refuses an address.
var ErrDialDenied = errors.New("address is not allowed")

// DialPolicy says which addresses may be connected to on behalf of somebody who names a URL. The zero value refuses
// what no object is ever kept at: link-local addresses, the metadata services of clouds, unspecified, multicast and
// reserved addresses. Loopback and private addresses are allowed unless DenyPrivate is set, since farms keep their
// files on them.
type DialPolicy struct {
	AllowLinkLocal bool // also allows metadata services
	DenyPrivate    bool // refuses loopback, private and unique local addresses
}

// Control is a net.Dialer's Control function: it sees the address that is really connected to, after resolving and on
// every redirect, so neither a name nor a redirect gets around it.
func (p DialPolicy) Control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: not an IP address and port", ErrDialDenied)
	}
	return p.Check(ap.Addr())
}

// Check says whether one address may be connected to.
func (p DialPolicy) Check(addr netip.Addr) error {
	for _, a := range embeddedAddrs(addr.WithZone("").Unmap()) {
		if p.denies(a) {
			return fmt.Errorf("%w: %s", ErrDialDenied, a)
		}
	}
	return nil
}

func (p DialPolicy) denies(a netip.Addr) bool {
	if a.IsUnspecified() || a.IsMulticast() || inAny(a, neverPrefixes()) {
		return true
	}
	if !p.AllowLinkLocal && (a.IsLinkLocalUnicast() || inAny(a, metadataPrefixes())) {
		return true
	}
	return p.DenyPrivate && (a.IsLoopback() || a.IsPrivate() || inAny(a, sharedPrefixes()))
}

// embeddedAddrs gives the address and the IPv4 address that a NAT64 or 6to4 address leads to.
func embeddedAddrs(a netip.Addr) []netip.Addr {
	out := []netip.Addr{a}
	if !a.Is6() {
		return out
	}
	b := a.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(a), netip.MustParsePrefix("64:ff9b:1::/48").Contains(a),
		netip.MustParsePrefix("::/96").Contains(a) && !a.IsLoopback():
		out = append(out, netip.AddrFrom4([4]byte(b[12:16])))
	case netip.MustParsePrefix("2002::/16").Contains(a):
		out = append(out, netip.AddrFrom4([4]byte(b[2:6])))
	}
	return out
}

// metadataPrefixes lists where clouds tell machines their secrets, beside 169.254.0.0/16 and fe80::/10.
func metadataPrefixes() []netip.Prefix {
	return prefixes("fd00:ec2::/32", "fd20:ce::/32", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32")
}

func neverPrefixes() []netip.Prefix { return prefixes("0.0.0.0/8", "240.0.0.0/4", "fec0::/10") }

func sharedPrefixes() []netip.Prefix { return prefixes("100.64.0.0/10", "198.18.0.0/15") }

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParsePrefix(t)
	}
	return out
}

func inAny(a netip.Addr, in []netip.Prefix) bool {
	for _, p := range in {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
