package stage

import (
	"runtime"
	"slices"
	"strings"
)

// PackageEnv gives the environment variables, NAME=value, that tell a task where its application packages are. On Linux
// each has two spellings, with the id's letters as they are and in lower case, as Azure Batch documents both; a default
// version has names without version too.
func PackageEnv(packages []Package) []string { return packageEnv(packages, runtime.GOOS == "windows") }

func packageEnv(packages []Package, windows bool) []string {
	var out []string
	seen := map[string]bool{}
	add := func(name, dir string) {
		if !seen[name] {
			seen[name] = true
			out = append(out, name+"="+dir)
		}
	}
	for _, p := range packages {
		for _, name := range packageNames(p, windows) {
			add(name, p.Dir)
		}
	}
	slices.Sort(out)
	return out
}

func packageNames(p Package, windows bool) []string {
	const prefix = "AZ_BATCH_APP_PACKAGE_"
	if windows {
		names := []string{prefix + strings.ToUpper(p.ID) + "#" + p.Version}
		if p.Default {
			names = append(names, prefix+strings.ToUpper(p.ID))
		}
		return names
	}
	plain := strings.NewReplacer(".", "_", "-", "_", "#", "_")
	id, version := plain.Replace(p.ID), plain.Replace(p.Version)
	names := []string{prefix + id + "_" + version, prefix + strings.ToLower(id+"_"+version)}
	if p.Default {
		names = append(names, prefix+id, prefix+strings.ToLower(id))
	}
	return names
}
