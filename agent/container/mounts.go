package container

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/mount"
	"github.com/spf13/pflag"
)

func (o *options) takeMounts(raw *rawOptions, _ *pflag.FlagSet) error {
	for _, text := range raw.volumes {
		m, err := parseVolume(text)
		if err != nil {
			return err
		}
		o.mounts = append(o.mounts, m)
	}
	for _, text := range raw.mounts {
		m, err := parseMount(text)
		if err != nil {
			return err
		}
		o.mounts = append(o.mounts, m)
	}
	for _, text := range raw.tmpfs {
		target, how, _ := strings.Cut(text, ":")
		if !cleanPath(target) {
			return fmt.Errorf("--tmpfs %q: the path in the container is absolute and clean", text)
		}
		if o.host.Tmpfs == nil {
			o.host.Tmpfs = map[string]string{}
		}
		o.host.Tmpfs[target] = how
	}
	for i := range o.mounts {
		if m := &o.mounts[i]; m.Type == mount.TypeVolume && m.Source != "" {
			o.reach("the volume " + m.Source)
		}
	}
	return nil
}

// cleanPath says whether a path is absolute and nothing in it leads back.
func cleanPath(p string) bool {
	return path.IsAbs(p) && path.Clean(p) == strings.TrimSuffix(p, "/") && len(p) > 1
}

// parseVolume reads PATH:PATH IN THE CONTAINER[:HOW], VOLUME:PATH[:HOW] or PATH.
func parseVolume(text string) (mount.Mount, error) {
	parts := strings.Split(text, ":")
	m := mount.Mount{Type: mount.TypeVolume, Target: parts[0]}
	if len(parts) > 1 {
		m.Source, m.Target = parts[0], parts[1]
		if strings.Contains(m.Source, "/") {
			m.Type = mount.TypeBind
		}
	}
	if len(parts) > 3 || !cleanPath(m.Target) || len(parts) > 1 && m.Source == "" {
		return m, fmt.Errorf("--volume %q is not PATH:PATH[:ro], and both are absolute and clean", text)
	}
	if len(parts) < 3 {
		return m, nil
	}
	for how := range strings.SplitSeq(parts[2], ",") {
		switch how {
		case "ro":
			m.ReadOnly = true
		case "rw", "z", "Z", "delegated", "cached", "consistent":
		default:
			return m, fmt.Errorf("--volume %q: %q is not known", text, how)
		}
	}
	return m, nil
}

// parseMount reads the fields of --mount.
func parseMount(text string) (mount.Mount, error) {
	m := mount.Mount{Type: mount.TypeVolume}
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return m, fmt.Errorf("--mount %q is not a list of fields", text)
	}
	tmpfs := &mount.TmpfsOptions{}
	for _, field := range fields {
		name, value, given := strings.Cut(field, "=")
		switch name {
		case "type":
			m.Type = mount.Type(value)
		case "source", "src":
			m.Source = value
		case "target", "destination", "dst":
			m.Target = value
		case "readonly", "ro":
			m.ReadOnly = true
			if given {
				m.ReadOnly, err = strconv.ParseBool(value)
			}
		case "tmpfs-size":
			tmpfs.SizeBytes, err = units.RAMInBytes(value)
		default:
			return m, fmt.Errorf("--mount %q: the field %q is not known", text, name)
		}
		if err != nil {
			return m, fmt.Errorf("--mount %q: the value of %s can't be read", text, name)
		}
	}
	switch {
	case !cleanPath(m.Target):
		return m, fmt.Errorf("--mount %q: the target is an absolute and clean path", text)
	case m.Type == mount.TypeTmpfs && m.Source != "":
		return m, fmt.Errorf("--mount %q: a tmpfs has no source", text)
	case m.Type == mount.TypeTmpfs:
		m.TmpfsOptions = tmpfs
	case m.Type != mount.TypeBind && m.Type != mount.TypeVolume:
		return m, fmt.Errorf("--mount %q: the type is bind, volume or tmpfs", text)
	}
	return m, nil
}

// checkSource refuses what a task would mount of the machine that is not below one of the directories, also where a link leads out of them.
func checkSource(source string, below []string) error {
	if !cleanPath(source) {
		return fmt.Errorf("the path %q on the node is absolute and clean", source)
	}
	within := func(p string) bool {
		for _, dir := range below {
			if dir != "" && (p == dir || strings.HasPrefix(p, dir+"/")) {
				return true
			}
		}
		return false
	}
	if !within(filepath.Clean(source)) {
		return fmt.Errorf("%s is not one of the task's own directories or the node's shared ones", source)
	}
	real, err := filepath.EvalSymlinks(source)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s does not exist", source)
	}
	if err != nil {
		return fmt.Errorf("%s can't be mounted: %w", source, err)
	}
	resolved := make([]string, 0, len(below))
	for _, dir := range below {
		if dir, err := filepath.EvalSymlinks(dir); err == nil {
			resolved = append(resolved, dir)
		}
	}
	below = resolved
	if !within(real) {
		return fmt.Errorf("%s is a link that leads out of the task's directories", source)
	}
	return nil
}
