package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Variables of the environment that choose whom to call; each wins over the context file.
const (
	EnvConfig  = "BATCHYARD_CONFIG"  // path of the context file
	EnvContext = "BATCHYARD_CONTEXT" // name of the context to use
	EnvAddress = "BATCHYARD_ADDRESS" // host:port[,host:port…] of the coordinators' gRPC
	EnvToken   = "BATCHYARD_TOKEN"   // token to call with
	EnvCA      = "BATCHYARD_CA"      // path of a PEM file with the cluster's authority
)

// maxContextFile bounds what is read as a context file, in bytes.
const maxContextFile = 4 << 20

// ErrNoContext says that nothing tells which cluster to call.
var ErrNoContext = errors.New("no cluster is known: start one with `batchyard dev`, or set " +
	EnvAddress + ", " + EnvToken + " and " + EnvCA)

// Context is one way to reach a cluster as someone.
type Context struct {
	Name      string   `yaml:"name"`
	Addresses []string `yaml:"addresses"`
	// CA holds PEM certificates; empty: the system's.
	CA      string `yaml:"ca,omitempty"`
	Account string `yaml:"account,omitempty"`
	Token   string `yaml:"token,omitempty"`
	// HTTPS is the base URL of the REST API and the dashboard.
	HTTPS string `yaml:"https,omitempty"`
}

// Config is what Dial needs to reach the context's cluster.
func (c Context) Config() Config {
	return Config{Addresses: c.Addresses, CA: []byte(c.CA), Token: c.Token}
}

// Contexts is the content of a context file.
type Contexts struct {
	Current  string    `yaml:"current,omitempty"`
	Contexts []Context `yaml:"contexts"`
}

// Find returns the context of a name.
func (c Contexts) Find(name string) (Context, bool) {
	i := slices.IndexFunc(c.Contexts, func(x Context) bool { return x.Name == name })
	if i < 0 {
		return Context{}, false
	}
	return c.Contexts[i], true
}

// ContextPath is where the context file is: BATCHYARD_CONFIG, or batchyard/contexts.yaml below XDG_CONFIG_HOME or ~/.config.
func ContextPath(getenv func(string) string) (string, error) {
	if path := getenv(EnvConfig); path != "" {
		return path, nil
	}
	if dir := getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "batchyard", "contexts.yaml"), nil
	}
	home := getenv("HOME")
	if home == "" {
		home = getenv("USERPROFILE")
	}
	if home == "" {
		return "", fmt.Errorf("no home directory for the context file: set %s", EnvConfig)
	}
	return filepath.Join(home, ".config", "batchyard", "contexts.yaml"), nil
}

// LoadContexts reads a context file; one that does not exist holds no contexts.
func LoadContexts(path string) (Contexts, error) {
	var all Contexts
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return all, fmt.Errorf("context file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxContextFile+1))
	if err != nil {
		return all, fmt.Errorf("context file %s: %w", path, err)
	}
	if len(text) > maxContextFile {
		return all, fmt.Errorf("context file %s: larger than %d bytes", path, maxContextFile)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&all); err != nil && !errors.Is(err, io.EOF) {
		return Contexts{}, fmt.Errorf("context file %s: %w", path, err)
	}
	return all, nil
}

// SaveContext adds a context to the file, or replaces the one of its name; the first one becomes current in any case.
func SaveContext(path string, c Context, makeCurrent bool) error {
	if err := c.validate(); err != nil {
		return err
	}
	return change(path, func(all *Contexts) error {
		all.Contexts = slices.DeleteFunc(all.Contexts, func(x Context) bool { return x.Name == c.Name })
		all.Contexts = append(all.Contexts, c)
		if makeCurrent || all.Current == "" {
			all.Current = c.Name
		}
		return nil
	})
}

// LearnAddresses adds coordinators to a context of the file. The file is touched only if c, as it was read, lacks one.
func LearnAddresses(path string, c Context, addresses []string) error {
	isNew := func(address string) bool { return !slices.Contains(c.Addresses, address) }
	if !slices.ContainsFunc(addresses, isNew) {
		return nil
	}
	return change(path, func(all *Contexts) error {
		i := slices.IndexFunc(all.Contexts, func(x Context) bool { return x.Name == c.Name })
		// Another cluster may have been made under the name meanwhile, and the environment may name another.
		if i < 0 || all.Contexts[i].CA != c.CA || !slices.Equal(all.Contexts[i].Addresses, c.Addresses) {
			return errUnchanged
		}
		for _, address := range addresses {
			if isNew(address) && len(all.Contexts[i].Addresses) < maxMembers {
				all.Contexts[i].Addresses = append(all.Contexts[i].Addresses, address)
			}
		}
		return nil
	})
}

// errUnchanged leaves the file as it is.
var errUnchanged = errors.New("the context is another one by now")

// RemoveContext takes a context out of the file, if it is there. Was it the current one, there is none afterwards.
func RemoveContext(path, name string) error {
	return change(path, func(all *Contexts) error {
		all.Contexts = slices.DeleteFunc(all.Contexts, func(x Context) bool { return x.Name == name })
		if all.Current == name {
			all.Current = ""
		}
		return nil
	})
}

// UseContext makes a context of the file the current one.
func UseContext(path, name string) error {
	return change(path, func(all *Contexts) error {
		if _, ok := all.Find(name); !ok {
			return unknownContext(*all, name, path)
		}
		all.Current = name
		return nil
	})
}

// ResolveContext decides whom to call: the context of a name that is not empty, as it is in the file; else BATCHYARD_CONTEXT or the
// current context, with what else the environment overrides. Without any it returns ErrNoContext.
func ResolveContext(getenv func(string) string, name string) (Context, error) {
	c, err := chooseContext(getenv, name)
	if err != nil || name != "" {
		return c, err
	}
	if addresses := getenv(EnvAddress); addresses != "" {
		// The context's authority and token stay out of it: a token is not for strangers.
		c = Context{Name: EnvAddress, Addresses: strings.FieldsFunc(addresses, func(r rune) bool { return r == ',' || r == ' ' })}
	}
	if token := getenv(EnvToken); token != "" {
		c.Token = token
	}
	if path := getenv(EnvCA); path != "" {
		pem, err := os.ReadFile(path)
		if err != nil {
			return Context{}, fmt.Errorf("%s: %w", EnvCA, err)
		}
		c.CA = string(pem)
	}
	if len(c.Addresses) == 0 {
		return Context{}, ErrNoContext
	}
	return c, nil
}

func chooseContext(getenv func(string) string, name string) (Context, error) {
	if name == "" {
		name = getenv(EnvContext)
	}
	if name == "" && getenv(EnvAddress) != "" {
		return Context{}, nil
	}
	path, err := ContextPath(getenv)
	if err != nil {
		return Context{}, err
	}
	all, err := LoadContexts(path)
	if err != nil {
		return Context{}, err
	}
	if name == "" {
		name = all.Current
	}
	c, ok := all.Find(name)
	switch {
	case ok:
		return c, nil
	case name == "" && len(all.Contexts) == 0:
		return Context{}, ErrNoContext
	case name == "":
		return Context{}, fmt.Errorf("no context is current: choose one of %s with `batchyard context use`", strings.Join(all.names(), ", "))
	default:
		return Context{}, unknownContext(all, name, path)
	}
}

func (c Contexts) names() []string {
	var names []string
	for _, x := range c.Contexts {
		names = append(names, x.Name)
	}
	return names
}

func unknownContext(all Contexts, name, path string) error {
	known := strings.Join(all.names(), ", ")
	if known == "" {
		known = "none"
	}
	return fmt.Errorf("context %q is not in %s; known: %s", name, path, known)
}

func (c Context) validate() error {
	if c.Name == "" || strings.ContainsFunc(c.Name, func(r rune) bool { return r < '!' || r > '~' }) {
		return fmt.Errorf("name %q of a context: must be printable and without spaces", c.Name)
	}
	if len(c.Addresses) == 0 {
		return fmt.Errorf("context %q has no address", c.Name)
	}
	return nil
}

// change rewrites the file whole, so that no reader sees half of it. Of two changes at the same time the later wins.
func change(path string, apply func(*Contexts) error) error {
	all, err := LoadContexts(path)
	if err != nil {
		return err
	}
	if err := apply(&all); err != nil {
		return err
	}
	text, err := yaml.Marshal(all)
	if err != nil {
		return fmt.Errorf("context file: %w", err)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("context file: %w", err)
	}
	// CreateTemp makes it readable by its owner only: it holds tokens.
	f, err := os.CreateTemp(dir, ".contexts-*")
	if err != nil {
		return fmt.Errorf("context file: %w", err)
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("context file: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
