package process

// SplitCommandLine splits a task's command line by the rules of this system: SplitWindows here, SplitPOSIX elsewhere.
func SplitCommandLine(line string) ([]string, error) { return SplitWindows(line) }
