package lifecycle

import (
	"encoding/hex"
	"strings"
)

// AutoPoolID makes the id of an automatic pool of random bytes: the prefix and a GUID, in upper case as Azure Batch writes it.
func AutoPoolID(prefix string, random [16]byte) string {
	random[6] = random[6]&0x0f | 0x40
	random[8] = random[8]&0x3f | 0x80
	h := strings.ToUpper(hex.EncodeToString(random[:]))
	return prefix + h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
