package coordinator

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/batchyard/batchyard/internal/trust"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// memberFile is what a data directory remembers of its member.
type memberFile struct {
	ID string `json:"id"`
	// Joining: the cluster has handed over its secrets, but does not count this member yet.
	Joining bool `json:"joining,omitempty"`
	// Via is the address of the cluster while it does not.
	Via string `json:"via,omitempty"`
}

const memberName = "member.json"

func readMember(dir string) (memberFile, error) {
	var m memberFile
	b, err := os.ReadFile(filepath.Join(dir, memberName))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("%s is damaged: %w", memberName, err)
	}
	return m, nil
}

func (m memberFile) write(dir string) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return trust.WritePrivate(filepath.Join(dir, memberName), b)
}

// newMemberID makes a name that no member had before: a member that lost its directory needs a new one.
func newMemberID() string {
	host, err := os.Hostname()
	if err != nil {
		host = "coordinator"
	}
	host, _, _ = strings.Cut(strings.ToLower(host), ".")
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return host + "-" + hex.EncodeToString(b[:])
}

// member is this coordinator as others see it, from the addresses that it really listens on.
func (c *Coordinator) describe() *apiv1.Member {
	return &apiv1.Member{
		Id:           c.id,
		Address:      c.reachable(c.grpcListener.Addr()),
		RaftAddress:  c.reachable(c.raftListener.Addr()),
		HttpsAddress: c.reachable(c.httpsListener.Addr()),
	}
}

// reachable replaces the host of a listening address by the one at which others find it.
func (c *Coordinator) reachable(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	ip := net.ParseIP(host)
	switch {
	case c.cfg.Host != "":
		host = c.cfg.Host
	case ip != nil && ip.IsUnspecified():
		if name, err := os.Hostname(); err == nil {
			host = name
		}
	}
	return net.JoinHostPort(host, port)
}

// names are what this member's certificate is to say besides the cluster's own server name.
func (c *Coordinator) names() (dns []string, ips []net.IP) {
	dns = []string{"localhost"}
	ips = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	if host, err := os.Hostname(); err == nil {
		dns = append(dns, host)
	}
	if ip := net.ParseIP(c.cfg.Host); ip != nil {
		ips = append(ips, ip)
	} else if c.cfg.Host != "" {
		dns = append(dns, c.cfg.Host)
	}
	return dns, ips
}
