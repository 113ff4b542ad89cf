//go:build unix

package process

// SplitCommandLine splits a task's command line by the rules of this system: SplitPOSIX here, SplitWindows on Windows.
func SplitCommandLine(line string) ([]string, error) { return SplitPOSIX(line) }
