package sweep

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func TestIDs(t *testing.T) {
	for _, c := range []struct {
		template string
		want     IDs
		first    string
	}{
		{"{{index}}", IDs{"", 0}, "7"},
		{"run-{{ index : 04 }}", IDs{"run-", 4}, "run-0007"},
		{"{{array}}-{{index}}", IDs{"A-", 0}, "A-7"},
		{"x1{{index}}", IDs{"x1", 0}, "x17"},
	} {
		got, err := ParseIDs(c.template, "A")
		require.NoError(t, err, c.template)
		require.Equal(t, c.want, got)
		require.Equal(t, c.first, got.ID(7))
		index, ok := got.Index(strings.ToUpper(c.first))
		require.True(t, ok)
		require.EqualValues(t, 7, index)
	}
	for _, wrong := range []string{"", "x", "{{index}}x", "{{item}}", "{{index:4}}", "{{x}}{{index}}", "{{index", "a{{index}}-{{index}}"} {
		_, err := ParseIDs(wrong, "A")
		require.Error(t, err, wrong)
	}
}

func TestOnlyElementsHaveAnIndex(t *testing.T) {
	plain, wide := IDs{"x-", 0}, IDs{"x-", 3}
	for _, id := range []string{"x-", "x", "x-01", "x-1a", "x--1", "y-1", "x-9999999999999999999"} {
		_, ok := plain.Index(id)
		require.False(t, ok, id)
	}
	for id, want := range map[string]bool{"x-001": true, "x-01": false, "x-0001": false, "x-1000": true, "x-000": true} {
		_, ok := wide.Index(id)
		require.Equal(t, want, ok, id)
	}
	index, ok := plain.Index("x-0")
	require.True(t, ok)
	require.Zero(t, index)
}

func TestTask(t *testing.T) {
	e := &Element{Array: "a", Index: 12, Columns: []string{"model", "seed"}, Values: []string{"gbm", "7"}}
	got, err := e.Task(&apiv1.Task{
		CommandLine:         "run {{model}} {{seed:03}} {{{{index}}",
		EnvironmentSettings: []*apiv1.EnvironmentSetting{{Name: "N", Value: "{{index:04}} of {{array}}"}},
		ResourceFiles:       []*apiv1.ResourceFile{{HttpUrl: "s3://b/{{model}}.csv", FilePath: "in.csv"}},
		RequiredSlots:       proto.Int32(2),
	})
	require.NoError(t, err)
	require.True(t, proto.Equal(&apiv1.Task{
		CommandLine:         "run gbm 007 {{index}}",
		EnvironmentSettings: []*apiv1.EnvironmentSetting{{Name: "N", Value: "0012 of a"}},
		ResourceFiles:       []*apiv1.ResourceFile{{HttpUrl: "s3://b/gbm.csv", FilePath: "in.csv"}},
		RequiredSlots:       proto.Int32(2),
	}, got), got)

	_, err = e.Task(&apiv1.Task{ResourceFiles: []*apiv1.ResourceFile{{}, {FilePath: "{{item}}"}}})
	var problem *Problem
	require.True(t, errors.As(err, &problem))
	require.Equal(t, "resourceFiles[1].filePath", problem.Path)
	require.EqualError(t, err, "resourceFiles[1].filePath: {{item}}: nothing has this name")

	one := &Element{Values: []string{"a b"}}
	text, err := Text("{{item}}", one.Find)
	require.NoError(t, err)
	require.Equal(t, "a b", text)
	_, err = Text("{{item}}", (&Element{}).Find)
	require.Error(t, err)
}

func TestPartly(t *testing.T) {
	find := func(name string) (string, bool, error) { return "{{x", name == "paths", nil }
	keep := func(name string) bool { return name == NameIndex }
	text, err := Partly("{{paths}} {{index:04}} {{ index }} {{{{", find, keep)
	require.NoError(t, err)
	require.Equal(t, "{{{{x {{index:04}} {{ index }} {{{{", text)
	text, err = Text(text, (&Element{Index: 3}).Find)
	require.NoError(t, err)
	require.Equal(t, "{{x 0003 3 {{", text)
	_, err = Partly("{{other}}", find, keep)
	require.Error(t, err)
}

func FuzzText(f *testing.F) {
	for _, seed := range []string{"{{index}}", "{{index:04}}{{{{", "{{", "}}", "{{{{{{item}}", "{{item:09}}"} {
		f.Add(seed, "12")
	}
	f.Fuzz(func(t *testing.T, text, item string) {
		e := &Element{Values: []string{item}}
		out, err := Text(text, e.Find)
		if err == nil && !strings.Contains(text, "{{") {
			require.Equal(t, text, out)
		}
		if ids, err := ParseIDs(text, "a"); err == nil {
			index, ok := ids.Index(ids.ID(5))
			require.True(t, ok)
			require.EqualValues(t, 5, index)
		}
	})
}
