package api

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// Limits that Azure Batch leaves open; they keep one resource from being out of all proportion.
const (
	maxMetadata      = 1000     // pairs
	maxMetadataBytes = 64 << 10 // names and values together
	maxEnvironment   = 1000     // variables
	maxReason        = 1024     // characters of a terminate reason
)

func invalid(at path, value, reason string) error {
	return batcherr.InvalidProperty(string(at), value, reason)
}

func invalidNumber(at path, value int32, reason string) error {
	return invalid(at, strconv.Itoa(int(value)), reason)
}

const idReason = "An id has 1 to 64 characters, all of them letters, digits, - or _."

// checkID holds a pool's, job's or task's id against the rules.
func checkID(at path, id string) error {
	switch {
	case id == "":
		return batcherr.MissingProperty(string(at))
	case !lifecycle.ValidID(id):
		return invalid(at, id, idReason)
	}
	return nil
}

func checkDisplayName(at path, name string) error {
	if len(name) > lifecycle.MaxDisplayName && utf8.RuneCountInString(name) > lifecycle.MaxDisplayName {
		return invalid(at, "", "A display name has at most 1024 characters.")
	}
	if strings.IndexByte(name, 0) >= 0 {
		return invalid(at, "", "The text contains the character NUL.")
	}
	return nil
}

func checkMetadata(at path, items []*apiv1.MetadataItem) error {
	total := 0
	for i, item := range items {
		if strings.TrimSpace(item.Name) == "" {
			return batcherr.Of(batcherr.CodeEmptyMetadataKey).With(batcherr.ValuePropertyName, string(at.index(i).at("name")))
		}
		total += len(item.Name) + len(item.Value)
	}
	if len(items) > maxMetadata || total > maxMetadataBytes {
		return batcherr.Of(batcherr.CodeMetadataTooLarge).With(batcherr.ValuePropertyName, string(at))
	}
	return nil
}

func checkEnvironment(at path, settings []*apiv1.EnvironmentSetting) error {
	if len(settings) > maxEnvironment {
		return invalid(at, strconv.Itoa(len(settings)), "There are at most 1000 environment variables.")
	}
	for i, s := range settings {
		if strings.Contains(s.Name, "=") {
			return invalid(at.index(i).at("name"), s.Name, "The name of an environment variable contains no =.")
		}
	}
	return nil
}

// checkAtLeast refuses durations that are present and too short.
func checkAtLeast(at path, d *durationpb.Duration, least time.Duration) error {
	if d != nil && d.AsDuration() < least {
		return invalid(at, lifecycle.FormatDuration(d.AsDuration()), "The least is "+lifecycle.FormatDuration(least)+".")
	}
	return nil
}

// limitOf normalises a limit: one that is so long that it means "unlimited" is absent. No time at all is refused.
func limitOf(at path, d *durationpb.Duration) (*durationpb.Duration, error) {
	switch {
	case d == nil || d.AsDuration() == lifecycle.Unlimited:
		return nil, nil
	case d.AsDuration() == 0:
		return nil, invalid(at, "PT0S", "The limit has to be longer than nothing.")
	}
	return d, nil
}

func checkRetryCount(at path, count *int32) error {
	if count != nil && *count < -1 {
		return invalidNumber(at, *count, "The number of retries is -1 (unlimited), 0 or more.")
	}
	return nil
}

// checkTaskConstraints checks and normalises a task's constraints, which may be nil.
func checkTaskConstraints(at path, c *apiv1.TaskConstraints) (err error) {
	if c == nil {
		return nil
	}
	if c.MaxWallClockTime, err = limitOf(at.at("maxWallClockTime"), c.MaxWallClockTime); err != nil {
		return err
	}
	return checkRetryCount(at.at("maxTaskRetryCount"), c.MaxTaskRetryCount)
}

// checkPackages holds references to application packages against the rules of their names. Whether they exist is another question.
func checkPackages(at path, refs []*apiv1.ApplicationPackageReference) error {
	for i, ref := range refs {
		if !lifecycle.ValidID(ref.ApplicationId) {
			return invalid(at.index(i).at("applicationId"), ref.ApplicationId, idReason)
		}
		if ref.Version != "" && !lifecycle.ValidVersion(ref.Version) {
			return invalid(at.index(i).at("version"), ref.Version, versionReason)
		}
	}
	return nil
}

const versionReason = "A version has 1 to 64 characters, all of them letters, digits, -, _ or dots, and not only dots."
