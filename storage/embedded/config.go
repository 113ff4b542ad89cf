// Package embedded runs the object store that small farms use, in a process of its own.
package embedded

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
)

// Config is all that the store's process needs to know. It holds a secret, so it travels through a pipe rather than
// through arguments or the environment.
type Config struct {
	DataDir   string `json:"data_dir"` // absolute; made if it is missing
	Address   string `json:"address"`  // IP address and port
	Region    string `json:"region"`   // default us-east-1
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
	CertFile  string `json:"cert_file"` // PEM; with KeyFile, absolute. Both empty: plain HTTP
	KeyFile   string `json:"key_file"`
}

// maxConfig bounds what ReadConfig reads, in bytes.
const maxConfig = 64 << 10

// ReadConfig reads what Start writes to its child's standard input.
func ReadConfig(r io.Reader) (Config, error) {
	var c Config
	dec := json.NewDecoder(io.LimitReader(r, maxConfig))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return Config{}, fmt.Errorf("read object store configuration: %w", err)
	}
	return c, c.Validate()
}

// Validate checks what can be checked without touching anything.
func (c Config) Validate() error {
	switch {
	case !filepath.IsAbs(c.DataDir):
		return errors.New("object store: the data directory is not an absolute path")
	case c.AccessKey == "" || c.SecretKey == "":
		return errors.New("object store: access key and secret key are required")
	case (c.CertFile == "") != (c.KeyFile == ""):
		return errors.New("object store: certificate and key belong together")
	case c.CertFile != "" && (!filepath.IsAbs(c.CertFile) || !filepath.IsAbs(c.KeyFile)):
		return errors.New("object store: certificate and key are not absolute paths")
	}
	host, _, err := net.SplitHostPort(c.Address)
	if err != nil || net.ParseIP(host) == nil {
		return errors.New("object store: the address is not an IP address and a port")
	}
	return nil
}

// Endpoint is the store's URL.
func (c Config) Endpoint() string {
	if c.CertFile == "" {
		return "http://" + c.Address
	}
	return "https://" + c.Address
}

// LogValue keeps the secret out of logs.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(slog.String("data_dir", c.DataDir), slog.String("endpoint", c.Endpoint()))
}

// String keeps the secret out of formatted text.
func (c Config) String() string {
	return fmt.Sprintf("embedded.Config{%s %s}", c.DataDir, c.Endpoint())
}

// GoString is String, for %#v.
func (c Config) GoString() string { return c.String() }

// fingerprint changes when the configuration, the certificate or the key changes, and tells nothing about them to
// somebody without the secret. version is that of the program.
func (c Config) fingerprint(version string) (string, error) {
	mac := hmac.New(sha256.New, []byte(c.SecretKey))
	part := func(b []byte) { fmt.Fprintf(mac, "%d:", len(b)); mac.Write(b) }
	for _, s := range []string{version, c.DataDir, c.Address, c.Region, c.AccessKey} {
		part([]byte(s))
	}
	for _, name := range []string{c.CertFile, c.KeyFile} {
		if name == "" {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("object store: %w", err)
		}
		part(b)
	}
	return hex.EncodeToString(mac.Sum(nil)), nil
}
