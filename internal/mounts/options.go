package mounts

import (
	"errors"
	"fmt"
	"strings"
)

// Bounds of what is parsed.
const (
	maxOptionText = 4096
	maxOptions    = 100
)

// option is one of a text of mount options: NAME or NAME=VALUE.
type option struct {
	name, value string
	valued      bool
}

func (o option) String() string {
	if o.valued {
		return o.name + "=" + o.value
	}
	return o.name
}

// parseOptions takes a text of options apart: "a,b=c", "-o a,b=c -o d", "--name=value", "-r". Nothing in it is ever seen by a shell, and what
// would mean something to one is refused.
func parseOptions(text string) ([]option, error) {
	if len(text) > maxOptionText {
		return nil, errors.New("the options are too long")
	}
	var out []option
	words := strings.Fields(text)
	for i := 0; i < len(words); i++ {
		word := words[i]
		switch {
		case word == "-o":
			if i++; i == len(words) {
				return nil, errors.New("-o lacks its options")
			}
			word = words[i]
			if strings.HasPrefix(word, "-") {
				return nil, errors.New("-o lacks its options")
			}
		case word == "-r":
			word = "ro"
		case word == "-w":
			word = "rw"
		case strings.HasPrefix(word, "--"):
			word = strings.TrimPrefix(word, "--")
		case strings.HasPrefix(word, "-o"):
			word = strings.TrimPrefix(word, "-o")
		case strings.HasPrefix(word, "-"):
			return nil, errors.New("options are given with -o, --NAME, -r or -w only")
		}
		for part := range strings.SplitSeq(word, ",") {
			o, err := parseOption(part)
			if err != nil {
				return nil, err
			}
			if out = append(out, o); len(out) > maxOptions {
				return nil, errors.New("there are too many options")
			}
		}
	}
	return out, nil
}

func parseOption(part string) (option, error) {
	name, value, valued := strings.Cut(part, "=")
	switch {
	case !allOf(name, isNameByte) || name == "" || name[0] == '-':
		return option{}, errors.New("the name of an option has lower-case letters, digits, _ and - only")
	case !allOf(value, isValueByte):
		return option{}, fmt.Errorf("the value of the option %s has characters that no option needs", name)
	case valued && value == "":
		return option{}, fmt.Errorf("the option %s lacks its value", name)
	}
	return option{name: name, value: value, valued: valued}, nil
}

func isNameByte(b byte) bool {
	return 'a' <= b && b <= 'z' || '0' <= b && b <= '9' || b == '_' || b == '-'
}

func isValueByte(b byte) bool {
	return isNameByte(b) || 'A' <= b && b <= 'Z' || strings.IndexByte(".:@%+/[]", b) >= 0
}

func allOf(text string, ok func(byte) bool) bool {
	for i := range len(text) {
		if !ok(text[i]) {
			return false
		}
	}
	return true
}

// quoted shows a part of what was given, shortened.
func quoted(text string) string {
	const most = 40
	if len(text) > most {
		text = text[:most] + "…"
	}
	return fmt.Sprintf("%q", text)
}

// names are those of options, separated by blanks.
func names(lists ...string) map[string]bool {
	out := map[string]bool{}
	for _, list := range lists {
		for _, name := range strings.Fields(list) {
			out[name] = true
		}
	}
	return out
}

// What a pool may ask for. Whatever is not here is refused: among the rest are options that let programs of the share be root (suid), make devices of
// its files (dev), read files of the node (credentials), or turn the mount into another one (bind, remount).
const (
	anyOptions = `ro rw exec noexec atime noatime diratime nodiratime relatime norelatime strictatime nostrictatime lazytime nolazytime sync async dirsync
		nosuid nodev defaults nofail _netdev auto noauto`
	nfsOptions = `vers nfsvers v3 v4 minorversion proto udp tcp rdma port mountport mountproto mountvers mounthost rsize wsize timeo retrans retry fg
		hard soft softerr softreval nosoftreval intr nointr ac noac acregmin acregmax acdirmin acdirmax actimeo lookupcache namlen cto nocto lock nolock
		local_lock sec sharecache nosharecache resvport noresvport nconnect max_connect clientaddr fsc nofsc migration nomigration rdirplus nordirplus
		acl noacl xprtsec trunkdiscovery notrunkdiscovery bsize`
	cifsOptions = `vers dir_mode file_mode uid gid forceuid noforceuid forcegid noforcegid serverino noserverino unix nounix posix noposix linux nolinux
		perm noperm dynperm nodynperm mfsymlinks nosharesock cache actimeo acregmax acdirmax closetimeo handlecache nohandlecache rsize wsize bsize sec
		seal sign domain dom workgroup iocharset brl nobrl lease nolease hard soft persistenthandles nopersistenthandles resilienthandles
		noresilienthandles multichannel nomultichannel max_channels handletimeout echo_interval port servern netbiosname intr nointr mapchars nomapchars
		mapposix ignorecase nocase sfu nosfu compress retrans tcpnodelay nostrictsync strictsync user_xattr nouser_xattr acl noacl`
)

// fstab are options for the file fstab, which mean nothing to what mounts.
var fstab = names("defaults nofail _netdev auto noauto")

// hostOptions checks the options of a mount by the kernel, and adds those that keep the node safe: the last of two that contradict each other counts.
func hostOptions(text string, known map[string]bool) ([]string, error) {
	parsed, err := parseOptions(text)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, o := range parsed {
		switch {
		case !known[o.name]:
			return nil, fmt.Errorf("the option %s is not allowed", quoted(o.name))
		case fstab[o.name], o.name == "nosuid", o.name == "nodev":
			continue
		}
		out = append(out, o.String())
	}
	return append(out, "nosuid", "nodev"), nil
}
