//go:build unix

package files

import (
	"fmt"
	"io/fs"
	"syscall"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// describe adds the mode, in octal and with the type bits, which only Unix has.
func describe(p *apiv1.FileProperties, info fs.FileInfo) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		p.FileMode = fmt.Sprintf("0o%o", st.Mode)
	}
}
