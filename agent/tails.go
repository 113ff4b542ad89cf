package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/batchyard/batchyard/agent/files"
)

const (
	// maxTail is how much of the end of a task's output goes with a node's logs.
	maxTail        = 64 << 10
	maxTailed      = 20
	startDirectory = "startup"
)

// gatherTails copies the ends of what tasks and the start task wrote to standard output and error. What is not there, or can't be read, is left out: the
// logs of a node that is broken are worth having in part.
func gatherTails(ctx context.Context, nodeRoot, to string, directories []string) (count int32, err error) {
	tree, err := files.Open(nodeRoot, "")
	if err != nil {
		return 0, err
	}
	defer tree.Close()
	for _, directory := range append([]string{startDirectory}, directories[:min(len(directories), maxTailed)]...) {
		for _, name := range []string{"stdout.txt", "stderr.txt"} {
			if err := copyTail(ctx, tree, directory+"/"+name, filepath.Join(to, strings.ReplaceAll(directory, "/", "_")+"_"+name)); err == nil {
				count++
			}
		}
	}
	return count, ctx.Err()
}

// copyTail copies the end of a file, which a task may be writing or have replaced: links are not followed.
func copyTail(ctx context.Context, tree *files.Tree, from, to string) (err error) {
	in, err := tree.Read(from)
	if err != nil {
		return err
	}
	defer in.Close()
	size := in.File.GetProperties().GetContentLength()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	return in.Copy(ctx, max(0, size-maxTail), maxTail, func(b []byte) error {
		_, err := out.Write(b)
		return err
	})
}
