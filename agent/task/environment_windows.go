package task

import (
	"os"
	"strings"
)

// certificatesVariable: AZ_BATCH_CERTIFICATES_DIR is for Linux only.
const certificatesVariable = false

// variableName is the form in which names are told apart: Windows ignores their case.
func variableName(name string) string { return strings.ToUpper(name) }

// homeVariable names the directory in which programs keep their things: the task's working directory.
const homeVariable = "USERPROFILE"

// BaseEnvironment is what every command gets besides its own variables: of the agent's environment only what Windows
// programs cannot start without.
func BaseEnvironment() []string {
	var out []string
	for _, name := range []string{
		"SystemRoot", "SystemDrive", "windir", "ComSpec", "PATH", "PATHEXT", "ProgramFiles", "ProgramFiles(x86)",
		"ProgramData", "CommonProgramFiles", "TEMP", "TMP", "NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE", "OS",
	} {
		if value, ok := os.LookupEnv(name); ok {
			out = append(out, name+"="+value)
		}
	}
	return out
}
