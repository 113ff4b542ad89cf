package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/batchyard/batchyard/internal/client/apijson"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// maxInput bounds what is read from a file that describes a resource, in bytes.
const maxInput = 64 << 20

// durationFlag is a duration in Go's spelling (10m) or ISO 8601 (PT10M).
type durationFlag struct {
	value time.Duration
	set   bool
}

func (d *durationFlag) String() string {
	if !d.set {
		return ""
	}
	if d.value == lifecycle.Unlimited {
		return "unlimited"
	}
	return d.value.String()
}

func (d *durationFlag) Set(text string) error {
	v, err := apijson.ParseDuration(text)
	if err != nil {
		return err
	}
	d.value, d.set = v, true
	return nil
}

func (*durationFlag) Type() string { return "duration" }

// proto is nil when the flag was not given.
func (d *durationFlag) proto() *durationpb.Duration {
	if !d.set {
		return nil
	}
	return durationpb.New(d.value)
}

// int32Flag is a number that may be absent.
type int32Flag struct {
	flags *pflag.FlagSet
	name  string
	value int32
}

func newInt32Flag(flags *pflag.FlagSet, name, help string) *int32Flag {
	n := &int32Flag{flags: flags, name: name}
	flags.Int32Var(&n.value, name, 0, help)
	flags.Lookup(name).DefValue = ""
	return n
}

// into sets *to if the flag was given.
func (n *int32Flag) into(to **int32) {
	if n.flags.Changed(n.name) {
		*to = proto.Int32(n.value)
	}
}

// pairs reads NAME=VALUE texts.
func pairs(flag string, texts []string, each func(name, value string)) error {
	for _, text := range texts {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return usagef("--%s %q: expected NAME=VALUE", flag, text)
		}
		each(name, value)
	}
	return nil
}

func environment(texts []string) ([]*apiv1.EnvironmentSetting, error) {
	var out []*apiv1.EnvironmentSetting
	err := pairs("env", texts, func(name, value string) {
		out = append(out, &apiv1.EnvironmentSetting{Name: name, Value: value})
	})
	return out, err
}

func metadata(texts []string) ([]*apiv1.MetadataItem, error) {
	var out []*apiv1.MetadataItem
	err := pairs("metadata", texts, func(name, value string) {
		out = append(out, &apiv1.MetadataItem{Name: name, Value: value})
	})
	return out, err
}

// packages reads APP or APP:VERSION texts.
func packages(texts []string) []*apiv1.ApplicationPackageReference {
	var out []*apiv1.ApplicationPackageReference
	for _, text := range texts {
		id, version, _ := strings.Cut(text, ":")
		out = append(out, &apiv1.ApplicationPackageReference{ApplicationId: id, Version: version})
	}
	return out
}

// readResource reads one JSON or YAML document into msg; the path "-" is the standard input, "" nothing.
func (f *factory) readResource(path string, msg proto.Message) error {
	if path == "" {
		return nil
	}
	text, err := f.readInput(path)
	if err != nil {
		return err
	}
	documents, err := apijson.Parse(strings.NewReader(string(text)))
	if err == nil && len(documents) != 1 {
		err = fmt.Errorf("expected one document, found %d", len(documents))
	}
	if err == nil {
		err = apijson.Decode(documents[0], msg)
	}
	if err != nil {
		return usagef("%s: %w", path, err)
	}
	return nil
}

func (f *factory) readInput(path string) ([]byte, error) {
	in := f.in
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, usage(err)
		}
		defer file.Close()
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, maxInput+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(text) > maxInput {
		return nil, usagef("%s: larger than %d bytes", path, maxInput)
	}
	return text, nil
}

// commandLine makes a task's command line of arguments. A single argument is the command line itself; several are quoted where
// needed, so that the program gets them as they are. With shell the arguments are a script for /bin/sh.
func commandLine(args []string, shell bool) string {
	switch {
	case shell:
		return "/bin/sh -c " + quoteArgument(strings.Join(args, " "))
	case len(args) == 1:
		return args[0]
	}
	quoted := make([]string, len(args))
	for i, arg := range args {
		quoted[i] = quoteArgument(arg)
	}
	return strings.Join(quoted, " ")
}

func quoteArgument(arg string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./=:,+@%^", r)
	}
	if arg != "" && strings.IndexFunc(arg, func(r rune) bool { return !safe(r) }) < 0 {
		return arg
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}
