package devfarm

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/batchyard/batchyard/internal/filelock"
	"github.com/batchyard/batchyard/internal/trust"
)

// settings are what a data directory keeps between starts: ports, so that nodes and contexts find the farm again, and the store's credentials.
type settings struct {
	GRPC      string `json:"grpc"`
	HTTPS     string `json:"https"`
	HTTP      string `json:"http"`
	Raft      string `json:"raft"`
	Store     string `json:"store"`
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
}

const settingsName = "dev.json"

// loadSettings reads the settings of a data directory, or makes them. The ports of new ones are nobody else's until settled is called, once they are bound.
func loadSettings(ctx context.Context, dir string, anyPorts bool) (s settings, settled func(), err error) {
	settled = func() {}
	path := filepath.Join(dir, settingsName)
	b, err := trust.ReadPrivate(path)
	if err == nil {
		if err := json.Unmarshal(b, &s); err != nil {
			return s, settled, fmt.Errorf("%s is damaged: %w", path, err)
		}
		return s, settled, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return s, settled, err
	}
	if settled, err = claimPorts(ctx); err != nil {
		return s, settled, err
	}
	if s, err = newSettings(anyPorts); err != nil {
		return s, settled, err
	}
	if b, err = json.MarshalIndent(s, "", "  "); err != nil {
		return s, settled, err
	}
	return s, settled, trust.WritePrivate(path, b)
}

// claimPorts keeps other farms of this user from choosing ports: two that start at the same moment would find the same ones free.
func claimPorts(ctx context.Context) (release func(), err error) {
	release = func() {}
	cache, err := os.UserCacheDir()
	if err != nil {
		return release, nil //nolint:nilerr // a user without a home directory takes the chance
	}
	dir := filepath.Join(cache, "batchyard")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return release, nil //nolint:nilerr // as above, where it can't be written
	}
	lock, err := filelock.Wait(ctx, filepath.Join(dir, "ports.lock"))
	if err != nil {
		return release, err
	}
	return func() { _ = lock.Close() }, nil
}

// newSettings takes the usual ports where they are free and wanted, and any others where not.
func newSettings(anyPorts bool) (settings, error) {
	var s settings
	taken := map[string]bool{}
	for _, want := range []struct {
		target *string
		port   int
	}{{&s.HTTPS, 7443}, {&s.GRPC, 7444}, {&s.Raft, 7445}, {&s.HTTP, 7480}, {&s.Store, 7490}} {
		address, err := freeAddress(want.port, anyPorts, taken)
		if err != nil {
			return s, fmt.Errorf("find a free port: %w", err)
		}
		taken[address] = true
		*want.target = address
	}
	s.AccessKey, s.SecretKey = randomText(20), randomText(40)
	return s, nil
}

const (
	// Ports below those that systems give to outgoing connections: one of these would stand in the way of a farm that starts again.
	lowestPort, portRange = 10_000, 22_000
	portTries             = 100
)

func freeAddress(usual int, anyPort bool, taken map[string]bool) (string, error) {
	port := usual
	if anyPort {
		port = randomPort()
	}
	var last error
	for range portTries {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		l, err := net.Listen("tcp", address)
		if err == nil {
			err = l.Close()
		}
		if err == nil && !taken[address] {
			return address, nil
		}
		last, port = err, randomPort()
	}
	return "", errors.Join(errors.New("no port is free"), last)
}

func randomPort() int { return lowestPort + mathrand.IntN(portRange) }

func randomText(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return base32.StdEncoding.EncodeToString(b)[:n]
}
