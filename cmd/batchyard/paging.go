package main

import (
	"context"
	"fmt"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// listFlags are the flags of the commands that list.
type listFlags struct {
	filter string
	limit  int
	quiet  bool
}

// page is the answer to one call of a list.
type page[T any] struct {
	items []T
	next  string
}

// collect follows a list's pages until limit items are there (0: all) and reports whether there are more.
func collect[T any](ctx context.Context, flags listFlags, call func(context.Context, *apiv1.ListOptions) (page[T], error)) (items []T, more bool, err error) {
	opts := &apiv1.ListOptions{Filter: flags.filter}
	for {
		if left := flags.limit - len(items); flags.limit > 0 && left < 1000 {
			opts.PageSize = int32(left)
		}
		got, err := call(ctx, opts)
		if err != nil {
			return nil, false, err
		}
		items = append(items, got.items...)
		switch {
		case got.next == "":
			return items, false, nil
		case flags.limit > 0 && len(items) >= flags.limit:
			return items[:flags.limit], true, nil
		case got.next == opts.GetPageToken():
			return nil, false, fmt.Errorf("the coordinator repeats a page of the list")
		}
		opts.PageToken = got.next
	}
}

func (f *factory) noteMore(more bool, limit int) {
	if more {
		fmt.Fprintf(f.errOut, "the first %d are shown; --limit 0 shows all\n", limit)
	}
}
