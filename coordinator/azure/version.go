package azure

import (
	"github.com/batchyard/batchyard/internal/batcherr"
)

// The api-versions in which routes came or went. Later ones compare greater as texts.
const (
	version2023May  = "2023-05-01.17.0"
	version2024July = "2024-07-01.20.0"
	version2025June = "2025-06-01"
)

// checkVersion accepts every well-formed api-version (2025-06-01, 2024-07-01.20.0, with or without -preview), so that clients
// newer than this program work as far as they can.
func checkVersion(text string) error {
	if text == "" {
		return batcherr.Of(batcherr.CodeMissingRequiredQueryParameter).With(batcherr.ValueQueryParameterName, "api-version")
	}
	if !wellFormedVersion(text) {
		return batcherr.InvalidQuery("api-version", text, "Must be a version such as "+version2025June+".")
	}
	return nil
}

func wellFormedVersion(text string) bool {
	const date = "dddd-dd-dd"
	if len(text) < len(date) || len(text) > 40 {
		return false
	}
	for i := range len(text) {
		c := text[i]
		digit := '0' <= c && c <= '9'
		switch {
		case i >= len(date):
			if !digit && c != '.' && c != '-' && (c|0x20 < 'a' || c|0x20 > 'z') {
				return false
			}
		case date[i] == 'd' && !digit, date[i] == '-' && c != '-':
			return false
		}
	}
	return len(text) == len(date) || text[len(date)] == '.' || text[len(date)] == '-'
}

func errOtherVersion(version string) error {
	return batcherr.NotFound(batcherr.CodeResourceNotFound, "The specified resource does not exist in this api-version.").
		With(batcherr.ValueQueryParameterName, "api-version").With(batcherr.ValueQueryParameterValue, version)
}
