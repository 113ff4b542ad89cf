package main

import (
	"strings"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

const mountUsage = "PATH=SOURCE, mounted below AZ_BATCH_NODE_MOUNTS_DIR: s3: for the account's bucket, s3://BUCKET/PREFIX, or nfs://HOST/PATH; repeatable. " +
	"What needs a password goes into the pool's file"

// poolMounts reads mounts as people write them.
func poolMounts(texts []string) (out []*apiv1.MountConfiguration, err error) {
	for _, text := range texts {
		at, source, ok := strings.Cut(text, "=")
		scheme, rest, known := strings.Cut(source, ":")
		host, below, _ := strings.Cut(strings.TrimPrefix(rest, "//"), "/")
		m := &apiv1.MountConfiguration{}
		switch {
		case !ok || at == "":
			return nil, usagef("--mount %q: expected PATH=SOURCE", text)
		case known && scheme == "s3":
			m.S3MountConfiguration = &apiv1.S3MountConfiguration{RelativeMountPath: at, Bucket: host, Prefix: below}
		case known && scheme == "nfs" && host != "":
			m.NfsMountConfiguration = &apiv1.NfsMountConfiguration{RelativeMountPath: at, Source: host + ":/" + below}
		default:
			return nil, usagef("--mount %q: the source is s3:, s3://BUCKET/PREFIX or nfs://HOST/PATH", text)
		}
		out = append(out, m)
	}
	return out, nil
}

// mountText shows a mount on one line.
func mountText(m *apiv1.MountConfiguration) string {
	switch {
	case m.S3MountConfiguration != nil:
		c := m.S3MountConfiguration
		return c.GetRelativeMountPath() + ": s3://" + strings.TrimSuffix(c.GetBucket()+"/"+c.GetPrefix(), "/")
	case m.NfsMountConfiguration != nil:
		return m.NfsMountConfiguration.GetRelativeMountPath() + ": NFS " + m.NfsMountConfiguration.GetSource()
	case m.CifsMountConfiguration != nil:
		return m.CifsMountConfiguration.GetRelativeMountPath() + ": SMB " + m.CifsMountConfiguration.GetSource()
	case m.AzureFileShareConfiguration != nil:
		return m.AzureFileShareConfiguration.GetRelativeMountPath() + ": " + m.AzureFileShareConfiguration.GetAzureFileUrl()
	case m.AzureBlobFileSystemConfiguration != nil:
		c := m.AzureBlobFileSystemConfiguration
		return c.GetRelativeMountPath() + ": Azure container " + c.GetAccountName() + "/" + c.GetContainerName()
	}
	return ""
}
