package mounts

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// objectOption says what becomes of an option of a mounted bucket: the flag of rclone that it stands for, and what its value is. An empty flag is an
// option of others that means nothing here.
type objectOption struct {
	flag  string
	value func(string) (string, error) // nil: it has none
}

// objectOptions are those of blobfuse that have a meaning here, and those of rclone that tune a mount.
var objectOptions = map[string]objectOption{
	"ro": {flag: "--read-only"}, "read-only": {flag: "--read-only"}, "rw": {},
	"allow_other": {}, "nosuid": {}, "nodev": {}, "use-https": {value: word}, "log-level": {value: word}, "negative_timeout": {value: number},
	"use-attr-cache": {value: word}, "use-adls": {value: word},
	"attr_timeout": {"--attr-timeout", seconds}, "attr-timeout": {"--attr-timeout", span},
	"entry_timeout": {"--dir-cache-time", seconds}, "dir-cache-time": {"--dir-cache-time", span},
	"file-cache-timeout-in-seconds": {"--vfs-cache-max-age", seconds}, "vfs-cache-max-age": {"--vfs-cache-max-age", span},
	"cache-size-mb": {"--vfs-cache-max-size", megabytes}, "vfs-cache-max-size": {"--vfs-cache-max-size", size},
	"vfs-cache-mode": {"--vfs-cache-mode", oneOf("off", "minimal", "writes", "full")},
	"vfs-read-ahead": {"--vfs-read-ahead", size}, "buffer-size": {"--buffer-size", size}, "transfers": {"--transfers", number},
	"vfs-read-chunk-size": {"--vfs-read-chunk-size", size},
	"uid":                 {"--uid", number}, "gid": {"--gid", number}, "umask": {"--umask", octal},
}

// objectFlags are the flags of rclone for the options of a mounted bucket.
func objectFlags(text string) ([]string, error) {
	parsed, err := parseOptions(text)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, o := range parsed {
		known, ok := objectOptions[o.name]
		switch {
		case !ok:
			return nil, fmt.Errorf("the option %s is not allowed", quoted(o.name))
		case known.value == nil && o.valued && o.value != "true":
			return nil, fmt.Errorf("the option %s has no value", o.name)
		case known.value != nil && !o.valued:
			return nil, fmt.Errorf("the option %s lacks its value", o.name)
		}
		flag := known.flag
		if known.value != nil {
			value, err := known.value(o.value)
			if err != nil {
				return nil, fmt.Errorf("the option %s: %w", o.name, err)
			}
			flag += "=" + value
		}
		if known.flag != "" {
			out = append(out, flag)
		}
	}
	return out, nil
}

func word(text string) (string, error) { return text, nil }

func number(text string) (string, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return "", fmt.Errorf("%s is not a number", quoted(text))
	}
	return strconv.FormatUint(n, 10), nil
}

func seconds(text string) (string, error) {
	n, err := number(text)
	return n + "s", err
}

func megabytes(text string) (string, error) {
	n, err := number(text)
	return n + "M", err
}

func octal(text string) (string, error) {
	n, err := strconv.ParseUint(text, 8, 10)
	if err != nil {
		return "", fmt.Errorf("%s is no mask of permissions", quoted(text))
	}
	return fmt.Sprintf("0%03o", n), nil
}

func span(text string) (string, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return "", fmt.Errorf("%s is no duration", quoted(text))
	}
	return d.String(), nil
}

// size is a number with or without one of rclone's units.
func size(text string) (string, error) {
	digits := strings.TrimRight(text, "KMGkmgi")
	if _, err := number(digits); err != nil || len(text)-len(digits) > 2 {
		return "", fmt.Errorf("%s is no size", quoted(text))
	}
	return text, nil
}

func oneOf(values ...string) func(string) (string, error) {
	return func(text string) (string, error) {
		for _, v := range values {
			if v == text {
				return v, nil
			}
		}
		return "", fmt.Errorf("it is one of %s", strings.Join(values, ", "))
	}
}
