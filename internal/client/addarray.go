package client

import (
	"context"

	"google.golang.org/protobuf/proto"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// AddTaskArray adds an array to a job, its items in as many calls as they need. progress (may be nil) is told how many elements are there. An array whose
// items did not all arrive can be gone on with: give the offset of those that are missing to AddTaskArrayItems.
func (c *Client) AddTaskArray(ctx context.Context, jobID string, array *apiv1.TaskArray, progress func(done int)) error {
	arrays := apiv1.NewTaskArrayServiceClient(c)
	items := array.GetItems().GetItems()
	told := func(n int) {
		if progress != nil {
			progress(n)
		}
	}
	first := proto.CloneOf(array)
	n := firstItems(items)
	if given := first.GetItems(); given != nil {
		given.Total, given.Items = int64(len(items)), items[:n]
	}
	if _, err := arrays.AddTaskArray(ctx, &apiv1.AddTaskArrayRequest{JobId: jobID, Array: first}); err != nil {
		return err
	}
	told(n)
	for at := n; at < len(items); at += n {
		n = firstItems(items[at:])
		req := &apiv1.AddTaskArrayItemsRequest{JobId: jobID, ArrayId: array.GetId(), Offset: int64(at), Items: items[at : at+n]}
		if _, err := arrays.AddTaskArrayItems(ctx, req); err != nil {
			return err
		}
		told(at + n)
	}
	return nil
}

// firstItems is how many of the items go into the next call.
func firstItems(items []*apiv1.ArrayItem) int {
	size := 0
	for i, item := range items {
		if size += proto.Size(item) + 4; i > 0 && size > maxBatchBytes {
			return i
		}
	}
	return len(items)
}
