package azure

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// olderMember is a property that only older api-versions have and that has no place in the messages.
type olderMember struct {
	treatment olderTreatment
	note      string
}

type olderTreatment uint8

const (
	// olderIgnored is accepted with any value and has no effect.
	olderIgnored olderTreatment = iota
	// olderEmptyOnly is accepted when null or an empty list and refused with UnsupportedProperty otherwise.
	olderEmptyOnly
	// olderCertificates is accepted when empty; as there are no certificates, any other value answers
	// InvalidCertificateReferences.
	olderCertificates
	// olderDiskType is managedDisk.storageAccountType in its earlier place.
	olderDiskType
)

const (
	noCloudServices = "Cloud services pools do not exist any more. Use virtualMachineConfiguration."
	noLicenses      = "Application licences are not provided by this service."
)

// olderMembers are the tolerated older properties of a message. They never appear in answers, but for a data disk's
// storageAccountType.
func olderMembers(name protoreflect.FullName) map[string]olderMember {
	switch name.Name() {
	case "Pool", "PoolSpecification":
		return map[string]olderMember{
			"certificateReferences":        {treatment: olderCertificates},
			"targetNodeCommunicationMode":  {treatment: olderIgnored},
			"currentNodeCommunicationMode": {treatment: olderIgnored},
			"resourceTags":                 {treatment: olderIgnored},
			"cloudServiceConfiguration":    {treatment: olderEmptyOnly, note: noCloudServices},
			"applicationLicenses":          {treatment: olderEmptyOnly, note: noLicenses},
		}
	case "PoolUpdateOptions", "PoolReplaceOptions":
		return map[string]olderMember{
			"certificateReferences":       {treatment: olderCertificates},
			"targetNodeCommunicationMode": {treatment: olderIgnored},
			"resourceTags":                {treatment: olderIgnored},
		}
	case "DataDisk":
		return map[string]olderMember{"storageAccountType": {treatment: olderDiskType}}
	case "Node":
		return map[string]olderMember{"certificateReferences": {treatment: olderIgnored}}
	default:
		return nil
	}
}

// diskTypeVersion is the api-version from which answers give a data disk's type in managedDisk only.
const diskTypeVersion = "2025-06-01"

// olderDiskTypeOf is the text of a data disk's storageAccountType for older clients, empty if there is none to show.
func (t *messageTable) olderDiskTypeOf(m protoreflect.Message, version string) string {
	if t.older == nil || version >= diskTypeVersion {
		return ""
	}
	disk, ok := m.Interface().(*apiv1.DataDisk)
	if !ok {
		return ""
	}
	managed := t.byName["managedDisk"].message
	return managed.byName["storageAccountType"].enum.byNumber[protoreflect.EnumNumber(disk.GetManagedDisk().GetStorageAccountType())]
}
