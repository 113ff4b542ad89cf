package client_test

import (
	"bytes"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/client/clienttest"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// watched is a job whose progress the test feeds; the stream lasts as long as the server.
type watched struct {
	apiv1.UnimplementedJobServiceServer
	progress chan *apiv1.JobProgress
	err      error
}

func (w *watched) WatchJob(_ *apiv1.WatchJobRequest, stream grpc.ServerStreamingServer[apiv1.JobProgress]) error {
	for {
		select {
		case p, ok := <-w.progress:
			if !ok {
				return w.err
			}
			if err := stream.Send(p); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func progress(active, completed int32) *apiv1.JobProgress {
	return &apiv1.JobProgress{Done: active == 0, State: apiv1.JobState_JOB_STATE_ACTIVE, Counts: &apiv1.TaskCountsResult{
		TaskCounts: &apiv1.TaskCounts{Active: active, Completed: completed, Succeeded: completed},
	}}
}

func TestWatchRidesOutARestart(t *testing.T) {
	a := clienttest.NewAuthority(t)
	w := &watched{progress: make(chan *apiv1.JobProgress, 1)}
	register := func(s *grpc.Server) { apiv1.RegisterJobServiceServer(s, w) }
	server := a.Serve(t, "", register)
	c := dial(t, a, nil, server.Address)
	w.progress <- progress(2, 0)
	var seen []int32
	err := c.WatchJob(t.Context(), "job", true, func(p *apiv1.JobProgress) error {
		completed := p.GetCounts().GetTaskCounts().GetCompleted()
		seen = append(seen, completed)
		switch completed {
		case 0: // the coordinator is killed and started again
			server.Stop()
			w.progress <- progress(1, 1)
			server = a.Serve(t, server.Address, register)
		case 1:
			w.progress <- progress(0, 2)
		default:
			close(w.progress)
		}
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, []int32{0, 1, 2}, seen)
}

func TestWatchDoesNotTakeAStoppingCoordinatorForTheEnd(t *testing.T) {
	a := clienttest.NewAuthority(t)
	first := &watched{progress: make(chan *apiv1.JobProgress, 1)}
	first.progress <- progress(2, 0)
	close(first.progress) // ends without an error
	server := a.Serve(t, "", func(s *grpc.Server) { apiv1.RegisterJobServiceServer(s, first) })
	c := dial(t, a, nil, server.Address)
	var last *apiv1.JobProgress
	err := c.WatchJob(t.Context(), "job", true, func(p *apiv1.JobProgress) error {
		if last = p; !p.GetDone() {
			server.Stop()
			second := &watched{progress: make(chan *apiv1.JobProgress, 1)}
			second.progress <- progress(0, 2)
			close(second.progress)
			a.Serve(t, server.Address, func(s *grpc.Server) { apiv1.RegisterJobServiceServer(s, second) })
		}
		return nil
	})
	require.NoError(t, err)
	require.True(t, last.GetDone())
}

func TestWatchEndsWithTheErrorOfTheJobOrOfTheCaller(t *testing.T) {
	a := clienttest.NewAuthority(t)
	w := &watched{progress: make(chan *apiv1.JobProgress, 1), err: batcherr.Of(batcherr.CodeJobNotFound)}
	c := dial(t, a, nil, a.Serve(t, "", func(s *grpc.Server) { apiv1.RegisterJobServiceServer(s, w) }).Address)
	w.progress <- progress(1, 0)
	err := c.WatchJob(t.Context(), "job", false, func(*apiv1.JobProgress) error { return errStop })
	require.ErrorIs(t, err, errStop)
	close(w.progress)
	err = c.WatchJob(t.Context(), "job", false, func(*apiv1.JobProgress) error { return nil })
	require.True(t, batcherr.HasCode(err, batcherr.CodeJobNotFound))
}

// flakyFile serves a file and breaks each stream after so many bytes.
type flakyFile struct {
	apiv1.UnimplementedFileServiceServer
	content []byte
	step    int
	mu      sync.Mutex
	offsets []int64
}

func (f *flakyFile) ReadFile(req *apiv1.ReadFileRequest, stream grpc.ServerStreamingServer[apiv1.ReadFileResponse]) error {
	f.mu.Lock()
	f.offsets = append(f.offsets, req.GetOffset())
	f.mu.Unlock()
	if req.GetOffset() > 0 && req.GetOffset() >= int64(len(f.content)) {
		return batcherr.Of(batcherr.CodeInvalidRange)
	}
	file := &apiv1.NodeFile{Name: req.GetName(), Properties: &apiv1.FileProperties{ContentLength: int64(len(f.content))}}
	if err := stream.Send(&apiv1.ReadFileResponse{Content: &apiv1.ReadFileResponse_Properties{Properties: file}}); err != nil {
		return err
	}
	rest := f.content[req.GetOffset():]
	if n := req.GetLength(); n > 0 && n < int64(len(rest)) {
		rest = rest[:n]
	}
	part := rest[:min(f.step, len(rest))]
	if err := stream.Send(&apiv1.ReadFileResponse{Content: &apiv1.ReadFileResponse_Data{Data: part}}); err != nil {
		return err
	}
	return broken()
}

func readFlaky(t *testing.T, f *flakyFile, req *apiv1.ReadFileRequest) (string, *apiv1.NodeFile) {
	t.Helper()
	a := clienttest.NewAuthority(t)
	c := dial(t, a, nil, a.Serve(t, "", func(s *grpc.Server) { apiv1.RegisterFileServiceServer(s, f) }).Address)
	var out bytes.Buffer
	var shown *apiv1.NodeFile
	require.NoError(t, c.ReadFile(t.Context(), req, &out, func(file *apiv1.NodeFile) error {
		require.Nil(t, shown, "shown once")
		shown = file
		return nil
	}))
	return out.String(), shown
}

func TestReadFileGoesOnWhereItStopped(t *testing.T) {
	f := &flakyFile{content: []byte("0123456789"), step: 4}
	got, file := readFlaky(t, f, &apiv1.ReadFileRequest{Name: "stdout.txt"})
	require.Equal(t, "0123456789", got)
	require.Equal(t, "stdout.txt", file.GetName())
	require.Equal(t, []int64{0, 4, 8, 10}, f.offsets)
}

func TestReadFileReadsNoMoreThanThePart(t *testing.T) {
	f := &flakyFile{content: []byte("0123456789"), step: 2}
	got, _ := readFlaky(t, f, &apiv1.ReadFileRequest{Name: "stdout.txt", Offset: 3, Length: 5})
	require.Equal(t, "34567", got)
	require.Equal(t, []int64{3, 5, 7}, f.offsets)
}

func TestReadFilePassesErrorsOfTheFile(t *testing.T) {
	a := clienttest.NewAuthority(t)
	c := dial(t, a, nil, a.Serve(t, "", func(s *grpc.Server) {
		apiv1.RegisterFileServiceServer(s, &flakyFile{content: []byte("x")})
	}).Address)
	err := c.ReadFile(t.Context(), &apiv1.ReadFileRequest{Offset: 5}, &bytes.Buffer{}, nil)
	require.True(t, batcherr.HasCode(err, batcherr.CodeInvalidRange))
}
