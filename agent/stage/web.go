package stage

import (
	"errors"

	"github.com/batchyard/batchyard/storage"
)

// Web implements Stores.
func (n *network) Web(loc storage.Location) (storage.Store, string, error) {
	return nil, "", &storage.Error{Op: "open store", Key: loc.String(), Kind: storage.ErrUnsupported, Err: errors.New("objects are reached over S3 only")}
}
