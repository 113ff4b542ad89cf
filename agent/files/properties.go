package files

import (
	"io/fs"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func nodeFile(name string, info fs.FileInfo) *apiv1.NodeFile {
	if info.IsDir() {
		return &apiv1.NodeFile{Name: name, IsDirectory: proto.Bool(true)}
	}
	properties := &apiv1.FileProperties{
		LastModified:  timestamppb.New(info.ModTime()),
		ContentLength: info.Size(),
		ContentType:   contentType(name),
	}
	describe(properties, info)
	return &apiv1.NodeFile{Name: name, IsDirectory: proto.Bool(false), Properties: properties}
}

func contentType(name string) string {
	if len(name) >= 4 && strings.EqualFold(name[len(name)-4:], ".txt") {
		return "text/plain"
	}
	return "application/octet-stream"
}
