package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func TestPagesAreBoundedInBytes(t *testing.T) {
	const tasks, size = 1000, 20_000
	next := func(after string, limit int) (out []item[*apiv1.Task], err error) {
		from := 0
		if after != "" {
			_, err = fmt.Sscan(after, &from)
			from++
		}
		for i := from; i < tasks && len(out) < limit; i++ {
			out = append(out, item[*apiv1.Task]{fmt.Sprint(i), &apiv1.Task{Id: fmt.Sprint(i), CommandLine: strings.Repeat("x", size)}})
		}
		return out, err
	}
	var seen []string
	pages := 0
	for token := ""; ; pages++ {
		l, err := newListing(&apiv1.ListOptions{PageToken: token}, (&apiv1.Task{}).ProtoReflect().Descriptor(), "tasks")
		require.NoError(t, err)
		page, following, err := collect(l, next)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page)*size, maxPageBytes+size)
		for _, task := range page {
			seen = append(seen, task.Id)
		}
		if token = following; token == "" {
			break
		}
	}
	require.Len(t, seen, tasks)
	require.Equal(t, fmt.Sprint(tasks-1), seen[tasks-1])
	require.Positive(t, pages)
}
