// Package identity is the cluster's certificate authority, join tokens, accounts' keys, users' tokens and sealed secrets.
package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/batchyard/batchyard/internal/trust"
)

const (
	keyringFile     = "keyring.json"
	keyringVersion  = 1
	clusterIDBytes  = 16
	maxClusterName  = 64
	authorityYears  = 10
	clockSkew       = 15 * time.Minute // how far a machine's clock may lag behind the signer's
	maxKeyringBytes = 64 << 10
)

// ErrKeyringExists says that a directory holds another cluster's keyring, which nothing overwrites.
var ErrKeyringExists = errors.New("a keyring of another cluster is here")

// Keyring is the cluster's secrets. Every coordinator holds the same; nothing of it goes to nodes or users, and no
// print or log shows it. It does not change and is safe for concurrent use.
type Keyring struct {
	clusterID   string
	clusterName string
	authority   *x509.Certificate
	caKey       crypto.Signer
	tokenSeed   trust.Secret // Ed25519 seed
	sealingKey  trust.Secret
}

// storedKeyring is the form on disk and between coordinators.
type storedKeyring struct {
	Version     int    `json:"version"`
	ClusterID   string `json:"clusterId"`
	ClusterName string `json:"clusterName"`
	Authority   []byte `json:"authority"` // DER
	CAKey       []byte `json:"caKey"`     // PKCS 8
	TokenSeed   []byte `json:"tokenSeed"`
	SealingKey  []byte `json:"sealingKey"`
}

// NewKeyring makes the secrets of a new cluster, whose authority lasts ten years. Ids and keys come from random, except
// that the standard library takes ECDSA keys from the system whatever it is given.
func NewKeyring(clusterName string, now time.Time, random io.Reader) (*Keyring, error) {
	if clusterName == "" || len(clusterName) > maxClusterName || strings.Trim(clusterName, nameChars) != "" {
		return nil, fmt.Errorf("cluster name %q: want 1 to %d letters, digits, - or _", clusterName, maxClusterName)
	}
	id, err := randomBytes(random, clusterIDBytes)
	if err != nil {
		return nil, err
	}
	seed, err := randomBytes(random, ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	sealing, err := randomBytes(random, chacha20poly1305.KeySize)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), random)
	if err != nil {
		return nil, fmt.Errorf("making the authority's key: %w", err)
	}
	authority, err := selfSign(key, clusterName, now, random)
	if err != nil {
		return nil, err
	}
	return &Keyring{
		clusterID: hex.EncodeToString(id), clusterName: clusterName,
		authority: authority, caKey: key,
		tokenSeed: trust.NewSecret(seed), sealingKey: trust.NewSecret(sealing),
	}, nil
}

const nameChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

func selfSign(key *ecdsa.PrivateKey, clusterName string, now time.Time, random io.Reader) (*x509.Certificate, error) {
	serial, err := newSerial(random)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: clusterName + " authority", Organization: []string{"Batchyard"}},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.AddDate(authorityYears, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(random, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("signing the authority's certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// ClusterID is the cluster's id, 32 hexadecimal digits; it is not secret.
func (k *Keyring) ClusterID() string { return k.clusterID }

// ClusterName is the name that people gave the cluster.
func (k *Keyring) ClusterName() string { return k.clusterName }

// CA is the authority's certificate, from which all others descend; it is not secret.
func (k *Keyring) CA() *x509.Certificate { return k.authority }

// Pin is the authority's pin.
func (k *Keyring) Pin() trust.Pin { return trust.PinOf(k.authority) }

// Format shows which cluster it is and nothing else, whatever the verb.
func (k *Keyring) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "keyring of cluster %s", k.clusterID)
}

// LogValue shows which cluster it is.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue("keyring of cluster " + k.clusterID) }

// MarshalJSON refuses: see Marshal.
func (k *Keyring) MarshalJSON() ([]byte, error) { return nil, errors.New("keyrings are not shown") }

// Marshal writes the whole keyring, in clear, for a joining coordinator or the disk.
func (k *Keyring) Marshal() ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(k.caKey)
	if err != nil {
		return nil, fmt.Errorf("encoding the authority's key: %w", err)
	}
	return json.Marshal(storedKeyring{
		Version: keyringVersion, ClusterID: k.clusterID, ClusterName: k.clusterName,
		Authority: k.authority.Raw, CAKey: key,
		TokenSeed: k.tokenSeed.Reveal(), SealingKey: k.sealingKey.Reveal(),
	})
}

// UnmarshalKeyring reads what Marshal wrote and checks that its parts belong together. Errors quote nothing of it.
func UnmarshalKeyring(data []byte) (*Keyring, error) {
	var stored storedKeyring
	if len(data) > maxKeyringBytes || json.Unmarshal(data, &stored) != nil {
		return nil, errors.New("not a keyring")
	}
	if stored.Version != keyringVersion {
		return nil, fmt.Errorf("keyring has version %d, this program knows %d", stored.Version, keyringVersion)
	}
	authority, err := x509.ParseCertificate(stored.Authority)
	if err != nil || !authority.IsCA {
		return nil, errors.New("keyring has no authority's certificate")
	}
	key, err := x509.ParsePKCS8PrivateKey(stored.CAKey)
	if err != nil {
		return nil, errors.New("keyring has no authority's key")
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok || !signer.PublicKey.Equal(authority.PublicKey) {
		return nil, errors.New("keyring's key is not its authority's")
	}
	if len(stored.TokenSeed) != ed25519.SeedSize || len(stored.SealingKey) != chacha20poly1305.KeySize {
		return nil, errors.New("keyring's token or sealing key has the wrong length")
	}
	k := &Keyring{
		clusterID: stored.ClusterID, clusterName: stored.ClusterName, authority: authority, caKey: signer,
		tokenSeed: trust.NewSecret(stored.TokenSeed), sealingKey: trust.NewSecret(stored.SealingKey),
	}
	if err := (trust.Identity{Cluster: k.clusterID, Role: trust.RoleServer, Name: "x"}).Validate(); err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	return k, nil
}

// Save writes the keyring into dir (0700, file 0600), whole or not at all. It does not overwrite another cluster's.
func (k *Keyring) Save(dir string) error {
	switch there, err := LoadKeyring(dir); {
	case err == nil && there.clusterID != k.clusterID:
		return fmt.Errorf("%s: %w", dir, ErrKeyringExists)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	data, err := k.Marshal()
	if err != nil {
		return err
	}
	return trust.WritePrivate(filepath.Join(dir, keyringFile), data)
}

// LoadKeyring reads dir's keyring. It refuses one that others have access to (trust.ErrExposed); where there is none the
// error is fs.ErrNotExist.
func LoadKeyring(dir string) (*Keyring, error) {
	path := filepath.Join(dir, keyringFile)
	data, err := trust.ReadPrivate(path)
	if err != nil {
		return nil, err
	}
	k, err := UnmarshalKeyring(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

func randomBytes(random io.Reader, n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(random, b); err != nil {
		return nil, fmt.Errorf("reading randomness: %w", err)
	}
	return b, nil
}
