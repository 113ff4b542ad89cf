package lifecycle

import "strings"

// MaxIDLength is the longest id of a pool, job, job schedule, task, application or version, in characters.
const MaxIDLength = 64

// ValidID says whether id may name a pool, job, job schedule or task: 1 to 64 of A-Z a-z 0-9 - _ (Azure Batch).
func ValidID(id string) bool {
	return validID(id, "-_")
}

// ValidVersion says whether a string may name a version of an application: as an id, and also dots, but not only dots.
func ValidVersion(version string) bool {
	return validID(version, "-_.") && strings.Trim(version, ".") != ""
}

// ValidAccountID says whether a string may name an account: 3 to 24 of a-z 0-9.
func ValidAccountID(id string) bool {
	if len(id) < 3 || len(id) > 24 {
		return false
	}
	return strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

func validID(id, extra string) bool {
	if id == "" || len(id) > MaxIDLength {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte(extra, c) < 0 {
			return false
		}
	}
	return true
}

// IDKey is the form in which ids are compared: Azure Batch keeps their case and ignores it.
func IDKey(id string) string { return strings.ToLower(id) }
