package storage

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits on locations and keys, in bytes.
const (
	MaxLocation = 8192
	MaxKey      = 1024
)

// Scheme is the kind of a Location.
type Scheme string

// The schemes that ParseLocation accepts.
const (
	S3    Scheme = "s3"
	HTTP  Scheme = "http"
	HTTPS Scheme = "https"
	File  Scheme = "file"
)

// Location is a checked address of an object or of a group of objects. Only ParseLocation makes one.
type Location struct {
	Scheme Scheme
	Bucket string // s3 only
	Key    string // s3: the key or prefix after the bucket, may be ""; file: the absolute slash-separated path
	url    url.URL
}

// ParseLocation reads s3://bucket[/prefix], http[s]://host/path[?query] or file:///path. User information, fragments,
// control characters and "." or ".." segments, escaped or not, are refused. Errors never repeat the text, which may
// hold a signature.
func ParseLocation(text string) (Location, error) {
	loc, err := parseLocation(text)
	if err != nil {
		return Location{}, &Error{Op: "parse location", Kind: ErrInvalid, Err: err}
	}
	return loc, nil
}

func parseLocation(text string) (Location, error) {
	switch {
	case text == "":
		return Location{}, errors.New("empty")
	case len(text) > MaxLocation:
		return Location{}, fmt.Errorf("longer than %d bytes", MaxLocation)
	}
	if err := plainText(text); err != nil {
		return Location{}, err
	}
	u, err := url.Parse(text)
	if err != nil {
		return Location{}, errors.New("not a URL")
	}
	switch {
	case u.User != nil:
		return Location{}, errors.New("credentials in a URL are not accepted")
	case u.Fragment != "" || strings.Contains(text, "#"):
		return Location{}, errors.New("fragments are not accepted")
	case u.Opaque != "":
		return Location{}, errors.New("// is missing after the scheme")
	}
	if err := plainText(u.Path); err != nil {
		return Location{}, err
	}
	if err := noDots(u.Path); err != nil {
		return Location{}, err
	}
	switch Scheme(strings.ToLower(u.Scheme)) {
	case S3:
		return s3Location(u)
	case HTTP, HTTPS:
		return webLocation(u)
	case File:
		return fileLocation(u)
	default:
		return Location{}, errors.New("the scheme is none of s3, https, http and file")
	}
}

func s3Location(u *url.URL) (Location, error) {
	if u.RawQuery != "" || u.ForceQuery {
		return Location{}, errors.New("an s3 location has no query")
	}
	if err := ValidateBucket(u.Host); err != nil {
		return Location{}, err
	}
	key := strings.TrimPrefix(u.Path, "/")
	if len(key) > MaxKey {
		return Location{}, fmt.Errorf("key is longer than %d bytes", MaxKey)
	}
	return Location{Scheme: S3, Bucket: u.Host, Key: key, url: url.URL{Scheme: "s3", Host: u.Host, Path: "/" + key}}, nil
}

func webLocation(u *url.URL) (Location, error) {
	if u.Hostname() == "" {
		return Location{}, errors.New("no host")
	}
	if strings.ContainsAny(u.Host, "%\\ ") {
		return Location{}, errors.New("the host has characters that no host has")
	}
	out := *u
	out.Scheme = strings.ToLower(u.Scheme)
	return Location{Scheme: Scheme(out.Scheme), url: out}, nil
}

func fileLocation(u *url.URL) (Location, error) {
	switch {
	case u.Host != "":
		return Location{}, errors.New("a file location has no host: file:///path")
	case u.RawQuery != "" || u.ForceQuery:
		return Location{}, errors.New("a file location has no query")
	case !strings.HasPrefix(u.Path, "/") || strings.Contains(u.Path, "\\"):
		return Location{}, errors.New("a file location has an absolute path with slashes")
	}
	p := path.Clean(u.Path)
	return Location{Scheme: File, Key: p, url: url.URL{Scheme: "file", Path: p}}, nil
}

// URL is the full URL of an http or https location, with its query and so perhaps with a signature: not for logs.
func (l Location) URL() string {
	if l.Scheme != HTTP && l.Scheme != HTTPS {
		return ""
	}
	return l.url.String()
}

// String is the location without its query.
func (l Location) String() string {
	u := l.url
	if u.RawQuery != "" {
		u.RawQuery = "REDACTED"
	}
	return u.String()
}

// GoString keeps %#v from printing what String hides.
func (l Location) GoString() string { return fmt.Sprintf("storage.Location(%q)", l.String()) }

// ValidateBucket checks a bucket name by the rules of S3: 3 to 63 lower-case letters, digits, dots and hyphens, not
// shaped like an IP address.
func ValidateBucket(name string) error {
	bad := func(why string) error { return &Error{Op: "check bucket name", Kind: ErrInvalid, Err: errors.New(why)} }
	if len(name) < 3 || len(name) > 63 {
		return bad("a bucket name has 3 to 63 characters")
	}
	digits := true
	for i, c := range name {
		letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !letter && c != '-' && c != '.' {
			return bad("a bucket name has lower-case letters, digits, dots and hyphens only")
		}
		if !letter && (i == 0 || i == len(name)-1) {
			return bad("a bucket name begins and ends with a letter or digit")
		}
		digits = digits && c >= '0' && c <= '9' || digits && c == '.'
	}
	if strings.Contains(name, "..") || strings.Contains(name, ".-") || strings.Contains(name, "-.") || digits && strings.Count(name, ".") == 3 {
		return bad("a bucket name is a host name")
	}
	return nil
}

// ValidateKey checks a key that is to be written: 1 to MaxKey bytes of UTF-8, slash-separated names none of which is
// empty, "." or "..", and no control characters. Every store can hold such a key.
func ValidateKey(key string) error {
	err := plainText(key)
	switch {
	case key == "":
		err = errors.New("empty key")
	case len(key) > MaxKey:
		err = fmt.Errorf("key is longer than %d bytes", MaxKey)
	case strings.HasPrefix(key, "/") || strings.HasSuffix(key, "/") || strings.Contains(key, "//"):
		err = errors.New("empty name in key")
	case err == nil:
		err = noDots(key)
	}
	if err != nil {
		return &Error{Op: "check key", Key: key, Kind: ErrInvalid, Err: err}
	}
	return nil
}

func plainText(s string) error {
	if !utf8.ValidString(s) {
		return errors.New("not UTF-8")
	}
	for _, c := range s {
		if unicode.IsControl(c) || c == '\u2028' || c == '\u2029' {
			return errors.New("control character")
		}
	}
	return nil
}

// noDots also refuses segments that a lenient server may read as "..": back slashes as separators.
func noDots(p string) error {
	for _, seg := range strings.FieldsFunc(p, func(c rune) bool { return c == '/' || c == '\\' }) {
		if seg == "." || seg == ".." {
			return errors.New(`"." or ".." in the path`)
		}
	}
	return nil
}
