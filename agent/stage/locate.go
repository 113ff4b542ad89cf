package stage

import (
	"errors"
	"net"
	"net/url"
	"strings"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/batchyard/batchyard/storage"
	"github.com/batchyard/batchyard/storage/blob"
)

// target is where objects are: a bucket and a prefix or key in it, a container of Azure Storage, or one URL that plain HTTP reaches.
type target struct {
	bucket string
	key    string           // in the bucket: an object's key, or a prefix that is "" or ends in /
	web    storage.Location // set when bucket is ""
	blob   bool             // web is a container of Azure Storage
}

// String is the target without credentials.
func (t target) String() string {
	switch {
	case t.blob:
		return t.containerURL()
	case t.bucket == "":
		return t.web.String()
	}
	return "s3://" + t.bucket + "/" + t.key
}

// listable says whether the target is a group of objects that can be listed and written to.
func (t target) listable() bool { return t.bucket != "" || t.blob }

// object is the address of one of the target's objects, without credentials.
func (t target) object(key string) string {
	if t.blob {
		return t.containerURL() + key
	}
	return "s3://" + t.bucket + "/" + key
}

// identity names one of the target's objects in the whole world.
func (t target) identity(access *apiv1.StoreAccess, key string) string {
	if t.blob {
		return t.object(key)
	}
	return access.GetEndpoint() + "\n" + t.object(key)
}

// containerURL is the container's address without its signature, ending in a slash.
func (t target) containerURL() string {
	text, _, _ := strings.Cut(t.web.URL(), "?")
	return strings.TrimRight(text, "/") + "/"
}

// autoStorage resolves the name of an auto-storage container: a folder of the account's own bucket.
func autoStorage(access *apiv1.StoreAccess, name string) (target, error) {
	if access.GetBucket() == "" {
		return target{}, errNoStore
	}
	if err := storage.ValidateKey(name); err != nil || strings.Contains(name, "/") {
		return target{}, errors.New("the container's name is not a plain name")
	}
	return target{bucket: access.GetBucket(), key: name + "/"}, nil
}

var errNoStore = errors.New("the account has no object store")

// locate resolves the URL of one object: s3://bucket/key, an http(s) URL of an object in the account's store, or any
// other http(s) URL, signed or not.
func locate(access *apiv1.StoreAccess, text string) (target, error) {
	loc, err := storage.ParseLocation(text)
	if err != nil {
		return target{}, err
	}
	switch loc.Scheme {
	case storage.S3:
		if access == nil {
			return target{}, errNoStore
		}
		return target{bucket: loc.Bucket, key: loc.Key}, nil
	case storage.HTTP, storage.HTTPS:
		if t, ok := ownStore(access, loc); ok {
			return t, nil
		}
		return target{web: loc}, nil
	default:
		return target{}, errors.New("files of the node itself can't be named by URL; use s3:// or https://")
	}
}

// container resolves the URL of a bucket, or of a folder in one, to a prefix, or that of a container of Azure Storage. A URL
// that plain HTTP alone reaches stays one: it may be a signed URL that one file can be written to.
func container(access *apiv1.StoreAccess, text string) (target, error) {
	t, err := locate(access, text)
	if err == nil && t.bucket != "" {
		t.key = strings.TrimRight(t.key, "/")
		if t.key != "" {
			t.key += "/"
		}
	}
	t.blob = err == nil && t.bucket == "" && blob.Is(t.web)
	return t, err
}

// ownStore recognises an unsigned URL of the account's store, in path style or with the bucket in the host's name.
func ownStore(access *apiv1.StoreAccess, loc storage.Location) (target, bool) {
	u, err := url.Parse(loc.URL())
	if err != nil || u.RawQuery != "" || !sameStore(access, loc) {
		return target{}, false
	}
	endpoint, err := url.Parse(access.GetEndpoint())
	if err != nil {
		return target{}, false
	}
	path := strings.TrimLeft(u.Path, "/")
	bucket, inHost := strings.CutSuffix(hostPort(u), "."+hostPort(endpoint))
	if !inHost {
		bucket, path, _ = strings.Cut(path, "/")
	}
	if storage.ValidateBucket(bucket) != nil {
		return target{}, false
	}
	return target{bucket: bucket, key: path}, true
}

// sameStore says whether a URL is one of the account's store, signed or not.
func sameStore(access *apiv1.StoreAccess, loc storage.Location) bool {
	if access.GetEndpoint() == "" {
		return false
	}
	u, err := url.Parse(loc.URL())
	endpoint, endpointErr := url.Parse(access.GetEndpoint())
	if err != nil || endpointErr != nil || u.Scheme != endpoint.Scheme {
		return false
	}
	host, own := hostPort(u), hostPort(endpoint)
	return host == own || strings.HasSuffix(host, "."+own)
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// identity names the object in a URL without what merely signs it, so that two signatures of one object share a copy.
func identity(loc storage.Location) string {
	u, err := url.Parse(loc.URL())
	if err != nil {
		return loc.URL()
	}
	query := u.Query()
	for name := range query {
		if strings.HasPrefix(strings.ToLower(name), "x-amz-") {
			query.Del(name)
		}
	}
	u.RawQuery = query.Encode()
	return u.String()
}
