package api

import (
	"strings"

	"github.com/batchyard/batchyard/internal/mounts"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// checkMounts holds what a pool mounts against the rules.
func checkMounts(at path, list []*apiv1.MountConfiguration) error {
	_, fault := mounts.ReadAll(list)
	if fault == nil {
		return nil
	}
	property := string(at)
	if fault.Property != "" {
		property += fault.Property
	}
	return invalid(path(strings.TrimSuffix(property, ".")), fault.Value, fault.Reason)
}
