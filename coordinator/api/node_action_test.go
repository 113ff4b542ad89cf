package api

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/batcherr"
)

func TestAMissingContainerIsTheCallersError(t *testing.T) {
	missing := batcherr.Internal(nil)
	missing.Code, missing.Message = batcherr.CodeFileUploadContainerNotFound, "no such container"
	got := batcherr.From(uploadRefusal(missing))
	require.Equal(t, batcherr.KindInvalid, got.Kind)
	require.Equal(t, batcherr.CodeInvalidPropertyValue, got.Code)
	other := errors.New("disk")
	require.Equal(t, other, uploadRefusal(other))
}
