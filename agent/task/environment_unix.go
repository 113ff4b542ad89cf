//go:build !windows

package task

import "runtime"

// certificatesVariable: AZ_BATCH_CERTIFICATES_DIR is for Linux only.
const certificatesVariable = runtime.GOOS == "linux"

// variableName is the form in which names are told apart.
func variableName(name string) string { return name }

// homeVariable names the directory in which programs keep their things: the task's working directory.
const homeVariable = "HOME"

// BaseEnvironment is what every command gets besides its own variables. Nothing of the agent's environment is handed on:
// it may hold secrets.
func BaseEnvironment() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C.UTF-8",
	}
}
