package devfarm

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strconv"

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

// loadSettings reads the settings of a data directory, or makes them.
func loadSettings(dir string) (settings, error) {
	var s settings
	path := filepath.Join(dir, settingsName)
	b, err := trust.ReadPrivate(path)
	if err == nil {
		if err := json.Unmarshal(b, &s); err != nil {
			return s, fmt.Errorf("%s is damaged: %w", path, err)
		}
		return s, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	if s, err = newSettings(); err != nil {
		return s, err
	}
	if b, err = json.MarshalIndent(s, "", "  "); err != nil {
		return s, err
	}
	return s, trust.WritePrivate(path, b)
}

// newSettings takes the usual ports where they are free, and any others where not.
func newSettings() (settings, error) {
	var s settings
	taken := map[string]bool{}
	for _, want := range []struct {
		target *string
		port   int
	}{{&s.HTTPS, 7443}, {&s.GRPC, 7444}, {&s.Raft, 7445}, {&s.HTTP, 7480}, {&s.Store, 7490}} {
		address, err := freeAddress(want.port, taken)
		if err != nil {
			return s, fmt.Errorf("find a free port: %w", err)
		}
		taken[address] = true
		*want.target = address
	}
	s.AccessKey, s.SecretKey = randomText(20), randomText(40)
	return s, nil
}

func freeAddress(port int, taken map[string]bool) (string, error) {
	for _, p := range []int{port, 0, 0, 0} {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
		if err != nil {
			if p == 0 {
				return "", err
			}
			continue
		}
		address := l.Addr().String()
		if err := l.Close(); err != nil {
			return "", err
		}
		if !taken[address] {
			return address, nil
		}
	}
	return "", errors.New("no port is free")
}

func randomText(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return base32.StdEncoding.EncodeToString(b)[:n]
}
