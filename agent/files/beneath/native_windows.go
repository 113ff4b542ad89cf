package beneath

import "io/fs"

const nonBlocking = 0

// foreignLink: Windows lets nobody link a file that he may not write.
func foreignLink(_, _ fs.FileInfo) bool { return false }
