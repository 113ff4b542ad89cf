package sweep

import (
	"testing"

	"github.com/stretchr/testify/require"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func valuesOf(items *apiv1.ArrayItems) (out [][]string) {
	for _, item := range items.Items {
		out = append(out, item.Values)
	}
	return out
}

func TestLines(t *testing.T) {
	items, err := Lines([]byte("a b\r\n\n  c\n"))
	require.NoError(t, err)
	require.Equal(t, [][]string{{"a b"}, {"  c"}}, valuesOf(items))
	require.EqualValues(t, 2, items.Total)
	_, err = Lines([]byte("\n\n"))
	require.EqualError(t, err, "there are no items")
}

func TestCSV(t *testing.T) {
	items, err := CSV([]byte("\ufeffmodel, seed\ngbm,1\n\"he,ston\",\"2\n3\"\n"))
	require.NoError(t, err)
	require.Equal(t, []string{"model", "seed"}, items.Columns)
	require.Equal(t, [][]string{{"gbm", "1"}, {"he,ston", "2\n3"}}, valuesOf(items))
	for text, want := range map[string]string{
		"":          "there is no line with the names of the columns",
		"a,b\n":     "there are no items",
		"a,b\n1\n":  "record on line 2: wrong number of fields",
		"a,1b\n1,2": `line 1: the column "1b" can't be used in a template: a name has letters, digits and _, and begins with no digit`,
		"a\n\"x":    `record on line 2; parse error on line 3, column 0: extraneous or missing " in quoted-field`,
	} {
		_, err := CSV([]byte(text))
		require.Error(t, err, text)
		if text != "a\n\"x" {
			require.EqualError(t, err, want)
		}
	}
}

func FuzzCSV(f *testing.F) {
	f.Add([]byte("a,b\n1,2\n"))
	f.Add([]byte("a\n\"x\n\""))
	f.Fuzz(func(t *testing.T, text []byte) {
		items, err := CSV(text)
		if err != nil {
			return
		}
		for _, item := range items.Items {
			require.Len(t, item.Values, len(items.Columns))
		}
	})
}
