package s3

import (
	"errors"
	"net/http"

	"github.com/minio/minio-go/v7"

	"github.com/batchyard/batchyard/storage"
)

// fail gives a failure of the store its kind.
func fail(op, key string, err error) error {
	var e minio.ErrorResponse
	if err == nil || !errors.As(err, &e) {
		return storage.Fail(op, key, err)
	}
	cause := errors.New(e.Code)
	if e.Message != "" {
		cause = errors.New(e.Code + ": " + e.Message)
	}
	return &storage.Error{Op: op, Key: key, Kind: kindOf(e), Err: cause}
}

func kindOf(e minio.ErrorResponse) error {
	switch e.Code {
	case "NoSuchBucket":
		return storage.ErrNoBucket
	case "NoSuchKey", "NoSuchVersion":
		return storage.ErrNotFound
	case "BucketAlreadyExists", "BucketAlreadyOwnedByYou", "ObjectParentIsFile", "ExistingObjectIsDirectory":
		return storage.ErrExists
	case "BucketNotEmpty", "PreconditionFailed", "ConditionalRequestConflict":
		return storage.ErrPrecondition
	case "InvalidRange":
		return storage.ErrRange
	case "BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody", "RequestTimeTooSkewed":
		return storage.ErrTemporary // the bytes were damaged or lost on the way
	case "EntityTooLarge":
		return storage.ErrTooLarge
	case "QuotaExceeded", "NoSpaceLeftOnDevice", "XMinioStorageFull", "InsufficientCapacity", "XMinioAdminBucketQuotaExceeded":
		return storage.ErrNoSpace
	case "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken":
		return storage.ErrForbidden
	}
	return kindOfStatus(e.StatusCode)
}

func kindOfStatus(status int) error {
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return storage.ErrForbidden
	case status == http.StatusNotFound:
		return storage.ErrNotFound
	case status == http.StatusPreconditionFailed:
		return storage.ErrPrecondition
	case status == http.StatusRequestedRangeNotSatisfiable:
		return storage.ErrRange
	case status == http.StatusRequestEntityTooLarge:
		return storage.ErrTooLarge
	case status == http.StatusInsufficientStorage:
		return storage.ErrNoSpace
	case status == http.StatusNotImplemented:
		return storage.ErrUnsupported
	case status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500:
		return storage.ErrTemporary
	case status >= 400:
		return storage.ErrInvalid
	}
	return nil
}
