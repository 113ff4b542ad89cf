package trust

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Role is what the holder of a certificate is; every port accepts some roles and no other.
type Role string

// The roles.
const (
	RoleServer Role = "server" // a coordinator
	RoleNode   Role = "node"   // the agent of one node
	RoleUser   Role = "user"   // a person or program
)

// ErrNoIdentity says that a certificate names nobody of a Batchyard cluster.
var ErrNoIdentity = errors.New("certificate carries no batchyard identity")

const (
	scheme         = "batchyard"
	maxNameLength  = 128 // bytes; ids have at most 64 characters
	clusterIDBytes = 16
)

// Identity is who a verified certificate belongs to. Servers have a Name; users an Account and a Name; nodes an
// Account, a Pool, a Name (the node's id) and an Incarnation.
type Identity struct {
	Cluster     string // 32 hexadecimal digits
	Role        Role
	Account     string
	Pool        string
	Name        string
	Incarnation uint64    // which enrolment of the node; a later one makes earlier certificates stale
	Expires     time.Time // when the certificate ends, zero before it is signed
}

// String is the identity's URI, as it stands in the certificate.
func (id Identity) String() string { return id.URI().String() }

// URI writes the identity as batchyard://CLUSTER/ROLE/PART/..., each part percent-encoded.
func (id Identity) URI() *url.URL {
	parts := []string{string(id.Role)}
	switch id.Role {
	case RoleNode:
		parts = append(parts, id.Account, id.Pool, id.Name, strconv.FormatUint(id.Incarnation, 10))
	case RoleUser:
		parts = append(parts, id.Account, id.Name)
	default:
		parts = append(parts, id.Name)
	}
	u := &url.URL{Scheme: scheme, Host: id.Cluster}
	for _, part := range parts {
		u.Path += "/" + part
		u.RawPath += "/" + url.PathEscape(part)
	}
	return u
}

// Validate reports what keeps the identity out of a certificate.
func (id Identity) Validate() error {
	if !isHex(id.Cluster, 2*clusterIDBytes) {
		return errors.New("cluster id is not 32 hexadecimal digits")
	}
	names := map[string]string{"name": id.Name}
	switch id.Role {
	case RoleServer:
	case RoleNode:
		names["account"], names["pool"] = id.Account, id.Pool
	case RoleUser:
		names["account"] = id.Account
	default:
		return fmt.Errorf("unknown role %q", id.Role)
	}
	for what, name := range names {
		if err := checkName(name); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("name %q is reserved", name)
	case len(name) > maxNameLength:
		return fmt.Errorf("name has more than %d bytes", maxNameLength)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return errors.New("name has characters that cannot be shown")
	}
	return nil
}

// ParseIdentity reads an identity's URI. It takes only the one spelling that URI writes.
func ParseIdentity(u *url.URL) (Identity, error) {
	parts := strings.Split(u.EscapedPath(), "/")
	if u.Scheme != scheme || len(parts) < 2 || parts[0] != "" {
		return Identity{}, ErrNoIdentity
	}
	for i, part := range parts {
		plain, err := url.PathUnescape(part)
		if err != nil {
			return Identity{}, ErrNoIdentity
		}
		parts[i] = plain
	}
	id := Identity{Cluster: u.Host, Role: Role(parts[1])}
	switch parts = parts[2:]; {
	case id.Role == RoleServer && len(parts) == 1:
		id.Name = parts[0]
	case id.Role == RoleUser && len(parts) == 2:
		id.Account, id.Name = parts[0], parts[1]
	case id.Role == RoleNode && len(parts) == 4:
		id.Account, id.Pool, id.Name = parts[0], parts[1], parts[2]
		incarnation, err := strconv.ParseUint(parts[3], 10, 64)
		if err != nil {
			return Identity{}, ErrNoIdentity
		}
		id.Incarnation = incarnation
	default:
		return Identity{}, ErrNoIdentity
	}
	if id.Validate() != nil || id.String() != u.String() {
		return Identity{}, ErrNoIdentity
	}
	return id, nil
}

// OfCertificate reads the identity of a certificate without verifying it.
func OfCertificate(cert *x509.Certificate) (Identity, error) {
	if len(cert.URIs) != 1 || cert.IsCA {
		return Identity{}, ErrNoIdentity
	}
	id, err := ParseIdentity(cert.URIs[0])
	if err != nil {
		return Identity{}, err
	}
	id.Expires = cert.NotAfter
	return id, nil
}

func isHex(s string, length int) bool {
	if len(s) != length {
		return false
	}
	return strings.Trim(s, "0123456789abcdef") == ""
}
