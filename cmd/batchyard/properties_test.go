package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

const propertiesHead = `# Properties that do nothing, or that are refused

<!-- Written by: make generate -->

Every property of the Azure Batch API that is not listed here does what its documentation says. "No effect" means that a value is checked, kept and
returned, and that nothing follows from it. "Refused" means that a request with a value is answered with ` + "`UnsupportedProperty`" + `, and the reason.

`

// TestProperties keeps docs/properties.md equal to what the options of the fields say.
func TestProperties(t *testing.T) {
	var b strings.Builder
	b.WriteString(propertiesHead)
	for _, m := range requestMessages() {
		documentProperties(t, &b, m)
	}
	path := filepath.Join("..", "..", "docs", "properties.md")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o644))
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, b.String(), string(got), "run: make generate")
}

// requestMessages are all messages that a request of the API can hold, each once, those that hold others first. What only a refused property
// holds is not among them.
func requestMessages() []protoreflect.MessageDescriptor {
	var out []protoreflect.MessageDescriptor
	seen := map[protoreflect.FullName]bool{}
	var add func(m protoreflect.MessageDescriptor)
	add = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] || m.ParentFile().Package() != "batchyard.api.v1" {
			return
		}
		seen[m.FullName()] = true
		out = append(out, m)
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			if rule := ruleOf(f); f.Message() != nil && !rule.GetOutputOnly() && rule.GetSupport() != apiv1.Support_SUPPORT_REFUSED {
				add(f.Message())
			}
		}
	}
	for _, s := range services() {
		for i := range s.Methods().Len() {
			add(s.Methods().Get(i).Input())
		}
	}
	return out
}

// services are those of the API, by name.
func services() []protoreflect.ServiceDescriptor {
	var out []protoreflect.ServiceDescriptor
	protoregistry.GlobalFiles.RangeFilesByPackage("batchyard.api.v1", func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			out = append(out, file.Services().Get(i))
		}
		return true
	})
	slices.SortFunc(out, func(a, b protoreflect.ServiceDescriptor) int {
		return strings.Compare(string(a.Name()), string(b.Name()))
	})
	return out
}

func ruleOf(f protoreflect.FieldDescriptor) *apiv1.Rule {
	rule, _ := proto.GetExtension(f.Options(), apiv1.E_Rule).(*apiv1.Rule)
	return rule
}

func documentProperties(t *testing.T, b *strings.Builder, m protoreflect.MessageDescriptor) {
	begun := false
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		rule := ruleOf(f)
		text := map[apiv1.Support]string{apiv1.Support_SUPPORT_NO_EFFECT: "no effect", apiv1.Support_SUPPORT_REFUSED: "refused"}[rule.GetSupport()]
		if text == "" {
			continue
		}
		if rule.GetNote() == "" {
			t.Errorf("%s has no note that says why it is: %s", f.FullName(), text)
		}
		if !begun {
			begun = true
			fmt.Fprintf(b, "## %s\n\n| property | what becomes of it | why |\n|---|---|---|\n", m.Name())
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", f.JSONName(), text, strings.ReplaceAll(rule.GetNote(), "|", `\|`))
	}
	if begun {
		b.WriteString("\n")
	}
}
