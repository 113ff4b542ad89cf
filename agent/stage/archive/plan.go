package archive

import (
	"archive/zip"
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/batchyard/batchyard/agent/files/beneath"
)

// item is one checked entry.
type item struct {
	file         *zip.File
	name         string
	dir          bool
	mode         fs.FileMode
	size, packed int64
}

func (i item) parent() string {
	dir, _ := path.Split(i.name)
	return strings.TrimSuffix(dir, "/")
}

func (i item) refuse(reason string) error { return refuse(i.name, reason) }

func (i item) complete(written int64) error {
	if written != i.size {
		return i.refuse("is shorter than it says")
	}
	return nil
}

func refuse(name, reason string) error {
	return fmt.Errorf("%w: entry %s %s", ErrRefused, beneath.Quote(name), reason)
}

// plan checks all entries against each other and the limits before one is unpacked.
func plan(files []*zip.File, size int64, limits Limits) ([]item, error) {
	if len(files) > limits.Entries {
		return nil, fmt.Errorf("%w: it has more than %d entries", ErrRefused, limits.Entries)
	}
	items := make([]item, 0, len(files))
	seen := make(map[string]item, len(files))
	var total int64
	for _, f := range files {
		it, err := check(f, limits)
		if err != nil {
			return nil, err
		}
		if it.name == "" {
			continue // the directory itself
		}
		if total += it.size; total > limits.Bytes {
			return nil, it.refuse(fmt.Sprintf("brings the unpacked bytes over %d", limits.Bytes))
		}
		key := fold(it.name)
		if other, taken := seen[key]; taken && (!it.dir || !other.dir || it.name != other.name) {
			return nil, it.refuse("has the name of another entry, " + beneath.Quote(other.name) + ", which many file systems take for the same")
		}
		seen[key] = it
		items = append(items, it)
	}
	return items, apart(items, size)
}

func check(f *zip.File, limits Limits) (item, error) {
	name := f.Name
	for strings.HasPrefix(name, "./") {
		name = name[2:]
	}
	it := item{file: f, dir: strings.HasSuffix(name, "/") || f.Mode().IsDir() || name == ""}
	it.name = strings.TrimSuffix(name, "/")
	if reason := nameFault(f.Name, it.name, limits); reason != "" {
		return it, refuse(f.Name, reason)
	}
	if reason := contentFault(f, it.dir, limits); reason != "" {
		return it, refuse(f.Name, reason)
	}
	it.size, it.packed = int64(f.UncompressedSize64), int64(f.CompressedSize64)
	it.mode = fileMode(f)
	return it, nil
}

func nameFault(raw, name string, limits Limits) string {
	switch {
	case raw == "":
		return "has no name"
	case !utf8.ValidString(raw):
		return "has a name that is not UTF-8"
	case strings.ContainsRune(raw, '\\'):
		return "has a backslash in its name; pack it with a tool that writes / as separator"
	case strings.ContainsFunc(raw, unicode.IsControl):
		return "has a control character in its name"
	case strings.HasPrefix(raw, "/"):
		return "is absolute"
	case name == "":
		return ""
	case strings.Count(name, "/") >= limits.Depth:
		return fmt.Sprintf("is more than %d directories deep", limits.Depth)
	}
	if err := beneath.CheckName(name); err != nil {
		return "is refused: " + err.Error()
	}
	return ""
}

func contentFault(f *zip.File, dir bool, limits Limits) string {
	kind := f.Mode().Type()
	switch {
	case kind&fs.ModeSymlink != 0:
		return "is a symbolic link; pack what it leads to instead"
	case kind != 0 && kind != fs.ModeDir:
		return "is neither a regular file nor a directory"
	case f.Flags&1 != 0:
		return "is encrypted; pack it without a password"
	case dir && f.UncompressedSize64 != 0:
		return "is a directory with contents"
	case f.Method != zip.Store && f.Method != zip.Deflate:
		return fmt.Sprintf("is packed with method %d; only stored and deflated entries are unpacked", f.Method)
	case f.UncompressedSize64 > uint64(limits.Bytes), f.CompressedSize64 > 1<<62:
		return fmt.Sprintf("unpacks to more than %d bytes", limits.Bytes)
	case f.UncompressedSize64 > uint64(limits.Slack) && f.UncompressedSize64/uint64(limits.Ratio) > f.CompressedSize64:
		return fmt.Sprintf("unpacks to more than %d times its packed size", limits.Ratio)
	}
	return ""
}

// fileMode keeps what says "executable". Archives from systems without modes say nothing: then everything is.
func fileMode(f *zip.File) fs.FileMode {
	const fromUnix, fromMac = 3, 19
	creator := f.CreatorVersion >> 8
	perm := f.Mode().Perm()
	if creator != fromUnix && creator != fromMac || f.ExternalAttrs>>16 == 0 || perm&0o111 != 0 {
		return 0o755
	}
	return 0o644
}

// apart refuses entries that share packed bytes, with which a small archive unpacks to a huge one.
func apart(items []item, size int64) error {
	type stretch struct {
		from, to int64
		item     item
	}
	stretches := make([]stretch, 0, len(items))
	for _, it := range items {
		if it.packed == 0 {
			continue
		}
		from, err := it.file.DataOffset()
		if err != nil {
			return it.refuse(err.Error())
		}
		if from < 0 || it.packed > size-from {
			return it.refuse("lies outside the archive")
		}
		stretches = append(stretches, stretch{from, from + it.packed, it})
	}
	slices.SortFunc(stretches, func(a, b stretch) int { return cmp.Compare(a.from, b.from) })
	for i := 1; i < len(stretches); i++ {
		if stretches[i].from < stretches[i-1].to {
			return stretches[i].item.refuse("overlaps " + beneath.Quote(stretches[i-1].item.name))
		}
	}
	return nil
}

// fold makes names equal that a file system may take for the same.
func fold(name string) string { return strings.ToLower(strings.ToUpper(name)) }
