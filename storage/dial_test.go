package storage_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/storage"
)

func TestDialPolicy(t *testing.T) {
	metadata := []string{
		"169.254.169.254", "169.254.170.2", "169.254.0.1", "fe80::1", "fe80::1%eth0", "febf::1", "fd00:ec2::254", "fd20:ce::254",
		"100.100.100.200", "168.63.129.16", "192.0.0.192", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe",
		"2002:a9fe:a9fe::1", "::169.254.169.254",
	}
	never := []string{"0.0.0.0", "0.1.2.3", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1", "fec0::1", "64:ff9b::"}
	private := []string{"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "fd12::1", "100.64.0.1",
		"198.18.0.1", "64:ff9b::a00:1", "2002:7f00:1::"}
	public := []string{"1.1.1.1", "2606:4700::1111", "172.32.0.1", "64:ff9b::101:101", "168.63.129.17"}
	check := func(p storage.DialPolicy, allowed bool, addrs []string) {
		t.Helper()
		for _, a := range addrs {
			err := p.Check(netip.MustParseAddr(a))
			if allowed {
				require.NoError(t, err, a)
				continue
			}
			require.ErrorIs(t, err, storage.ErrDialDenied, a)
		}
	}
	for _, p := range []storage.DialPolicy{{}, {DenyPrivate: true}, {AllowLinkLocal: true}, {AllowLinkLocal: true, DenyPrivate: true}} {
		check(p, false, never)
		check(p, true, public)
		check(p, !p.DenyPrivate, private)
	}
	check(storage.DialPolicy{}, false, metadata)
	check(storage.DialPolicy{AllowLinkLocal: true}, true, metadata)
	require.ErrorIs(t, storage.DialPolicy{}.Control("tcp", "localhost:80", nil), storage.ErrDialDenied)
	require.NoError(t, storage.DialPolicy{}.Control("tcp", "[::1]:80", nil))
}
