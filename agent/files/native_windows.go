package files

import (
	"io/fs"
	"syscall"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// describe adds the time of creation, which only Windows keeps.
func describe(p *apiv1.FileProperties, info fs.FileInfo) {
	if data, ok := info.Sys().(*syscall.Win32FileAttributeData); ok {
		p.CreationTime = timestamppb.New(time.Unix(0, data.CreationTime.Nanoseconds()))
	}
}
