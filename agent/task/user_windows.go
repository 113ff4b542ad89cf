package task

import "io/fs"

func ownerOf(fs.FileInfo) uint32 { return 0 }
