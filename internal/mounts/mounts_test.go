package mounts

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func nfs(source, path, options string) *apiv1.MountConfiguration {
	return &apiv1.MountConfiguration{NfsMountConfiguration: &apiv1.NfsMountConfiguration{Source: source, RelativeMountPath: path, MountOptions: options}}
}

func smb(source, user, options string) *apiv1.MountConfiguration {
	return &apiv1.MountConfiguration{CifsMountConfiguration: &apiv1.CifsMountConfiguration{
		Source: source, Username: user, Password: "canary", RelativeMountPath: "share", MountOptions: options,
	}}
}

func s3(c *apiv1.S3MountConfiguration) *apiv1.MountConfiguration {
	if c.RelativeMountPath == "" {
		c.RelativeMountPath = "data"
	}
	return &apiv1.MountConfiguration{S3MountConfiguration: c}
}

func blob(c *apiv1.AzureBlobFileSystemConfiguration) *apiv1.MountConfiguration {
	c.RelativeMountPath = "blob"
	return &apiv1.MountConfiguration{AzureBlobFileSystemConfiguration: c}
}

func files(account, url, options string) *apiv1.MountConfiguration {
	return &apiv1.MountConfiguration{AzureFileShareConfiguration: &apiv1.AzureFileShareConfiguration{
		AccountName: account, AccountKey: "canary", AzureFileUrl: url, RelativeMountPath: "files", MountOptions: options,
	}}
}

func TestRead(t *testing.T) {
	safe := []string{"nosuid", "nodev"}
	for name, c := range map[string]struct {
		m       *apiv1.MountConfiguration
		kind    Kind
		source  string
		options []string
	}{
		"nfs":               {nfs("10.0.0.4:/export/a b", "x", ""), "", "", nil},
		"nfs plain":         {nfs("10.0.0.4:/export/a", "x", ""), NFS, "10.0.0.4:/export/a", safe},
		"nfs v6":            {nfs("[fd00::1]:/e", "x/y/", "-o vers=4,minorversion=1,sec=sys -o ro"), NFS, "[fd00::1]:/e", slices.Concat([]string{"vers=4", "minorversion=1", "sec=sys", "ro"}, safe)},
		"options for fstab": {nfs("h:/e", "x", "_netdev,nofail,defaults,nodev,nolock"), NFS, "h:/e", slices.Concat([]string{"nolock"}, safe)},
		"smb":               {smb(`\\host\share\sub`, "me", "-o vers=3.0,dir_mode=0777,file_mode=0777,serverino"), SMB, "//host/share/sub", slices.Concat([]string{"vers=3.0", "dir_mode=0777", "file_mode=0777", "serverino"}, safe)},
		"azure files":       {files("acct", "https://acct.file.core.windows.net/share/", "-o vers=3.0 -r"), AzureFiles, "//acct.file.core.windows.net/share", slices.Concat([]string{"vers=3.0", "ro"}, safe)},
		"s3":                {s3(&apiv1.S3MountConfiguration{}), S3, "s3://", nil},
		"s3 prefix":         {s3(&apiv1.S3MountConfiguration{Bucket: "b", Prefix: "/in put/", MountOptions: "--read-only --vfs-cache-mode=full umask=022"}), S3, "s3://b/in put", []string{"--read-only", "--vfs-cache-mode=full", "--umask=0022"}},
		"blob": {
			blob(&apiv1.AzureBlobFileSystemConfiguration{AccountName: "acct", ContainerName: "c-1", AccountKey: "canary", BlobfuseOptions: "-o attr_timeout=240 -o entry_timeout=240 -o negative_timeout=120 --file-cache-timeout-in-seconds=120 --log-level=LOG_ERR -o allow_other --cache-size-mb=1000"}),
			AzureBlob, "acct/c-1", []string{"--attr-timeout=240s", "--dir-cache-time=240s", "--vfs-cache-max-age=120s", "--vfs-cache-max-size=1000M"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			plan, fault := Read(c.m)
			if c.kind == "" {
				require.NotNil(t, fault)
				return
			}
			require.Nil(t, fault)
			require.Equal(t, c.kind, plan.Kind)
			require.Equal(t, c.source, plan.Source)
			require.Equal(t, c.options, plan.Options)
		})
	}
}

// What is refused is refused by name of its property, and no secret is repeated.
func TestReadRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		m        *apiv1.MountConfiguration
		property string
	}{
		"nothing":            {&apiv1.MountConfiguration{}, ""},
		"two":                {&apiv1.MountConfiguration{NfsMountConfiguration: nfs("h:/e", "x", "").NfsMountConfiguration, S3MountConfiguration: &apiv1.S3MountConfiguration{}}, ""},
		"up":                 {nfs("h:/e", "a/../..", ""), "nfsMountConfiguration.relativeMountPath"},
		"up at once":         {nfs("h:/e", "..", ""), "nfsMountConfiguration.relativeMountPath"},
		"absolute":           {nfs("h:/e", "/etc", ""), "nfsMountConfiguration.relativeMountPath"},
		"itself":             {nfs("h:/e", ".", ""), "nfsMountConfiguration.relativeMountPath"},
		"empty":              {nfs("h:/e", "", ""), "nfsMountConfiguration.relativeMountPath"},
		"empty part":         {nfs("h:/e", "a//b", ""), "nfsMountConfiguration.relativeMountPath"},
		"backslash":          {nfs("h:/e", `a\b`, ""), "nfsMountConfiguration.relativeMountPath"},
		"NUL":                {nfs("h:/e", "a\x00b", ""), "nfsMountConfiguration.relativeMountPath"},
		"line":               {nfs("h:/e", "a\nb", ""), "nfsMountConfiguration.relativeMountPath"},
		"deep":               {nfs("h:/e", "1/2/3/4/5/6/7/8/9", ""), "nfsMountConfiguration.relativeMountPath"},
		"no export":          {nfs("host", "x", ""), "nfsMountConfiguration.source"},
		"option as source":   {nfs("-o:/e", "x", ""), "nfsMountConfiguration.source"},
		"suid":               {nfs("h:/e", "x", "vers=4,suid"), "nfsMountConfiguration.mountOptions"},
		"dev":                {nfs("h:/e", "x", "dev"), "nfsMountConfiguration.mountOptions"},
		"bind":               {nfs("h:/e", "x", "-o bind"), "nfsMountConfiguration.mountOptions"},
		"remount":            {nfs("h:/e", "x", "remount"), "nfsMountConfiguration.mountOptions"},
		"shell":              {nfs("h:/e", "x", "vers=4;reboot"), "nfsMountConfiguration.mountOptions"},
		"shell in a value":   {nfs("h:/e", "x", "vers=$(reboot)"), "nfsMountConfiguration.mountOptions"},
		"another program":    {nfs("h:/e", "x", "-t tmpfs"), "nfsMountConfiguration.mountOptions"},
		"background":         {nfs("h:/e", "x", "bg"), "nfsMountConfiguration.mountOptions"},
		"lacking":            {nfs("h:/e", "x", "-o"), "nfsMountConfiguration.mountOptions"},
		"lacking again":      {nfs("h:/e", "x", "-o -o"), "nfsMountConfiguration.mountOptions"},
		"no value":           {nfs("h:/e", "x", "vers="), "nfsMountConfiguration.mountOptions"},
		"credentials":        {smb("//h/s", "u", "credentials=/etc/shadow"), "cifsMountConfiguration.mountOptions"},
		"another password":   {smb("//h/s", "u", "password=canary"), "cifsMountConfiguration.mountOptions"},
		"another user":       {smb("//h/s", "u", "username=x"), "cifsMountConfiguration.mountOptions"},
		"user with options":  {smb("//h/s", "u,suid", ""), "cifsMountConfiguration.username"},
		"share with options": {smb("//h/s,suid", "u", ""), "cifsMountConfiguration.source"},
		"no share":           {smb("//h", "u", ""), "cifsMountConfiguration.source"},
		"one slash":          {smb("/h/s", "u", ""), "cifsMountConfiguration.source"},
		"signed":             {files("acct", "https://acct.file.core.windows.net/share?sig=canary", ""), "azureFileShareConfiguration.azureFileUrl"},
		"in the clear":       {files("acct", "http://acct.file.core.windows.net/share", ""), "azureFileShareConfiguration.azureFileUrl"},
		"account":            {files("a,b", "https://acct.file.core.windows.net/share", ""), "azureFileShareConfiguration.accountName"},
		"no key":             {blob(&apiv1.AzureBlobFileSystemConfiguration{AccountName: "acct", ContainerName: "c"}), "azureBlobFileSystemConfiguration.accountKey"},
		"two keys":           {blob(&apiv1.AzureBlobFileSystemConfiguration{AccountName: "acct", ContainerName: "c", AccountKey: "canary", SasKey: "canary"}), "azureBlobFileSystemConfiguration.accountKey"},
		"account of dots":    {blob(&apiv1.AzureBlobFileSystemConfiguration{AccountName: "evil.org/", ContainerName: "c", SasKey: "canary"}), "azureBlobFileSystemConfiguration.accountName"},
		"container":          {blob(&apiv1.AzureBlobFileSystemConfiguration{AccountName: "acct", ContainerName: "c/d", SasKey: "canary"}), "azureBlobFileSystemConfiguration.containerName"},
		"rclone's secrets":   {s3(&apiv1.S3MountConfiguration{MountOptions: "--config=/etc/shadow"}), "s3MountConfiguration.mountOptions"},
		"rclone's port":      {s3(&apiv1.S3MountConfiguration{MountOptions: "--rc"}), "s3MountConfiguration.mountOptions"},
		"mask":               {s3(&apiv1.S3MountConfiguration{MountOptions: "umask=999"}), "s3MountConfiguration.mountOptions"},
		"half a key":         {s3(&apiv1.S3MountConfiguration{Bucket: "b", AccessKey: "a"}), "s3MountConfiguration.secretKey"},
		"endpoint":           {s3(&apiv1.S3MountConfiguration{Bucket: "b", Endpoint: "https://h"}), "s3MountConfiguration.accessKey"},
		"endpoint's user":    {s3(&apiv1.S3MountConfiguration{Bucket: "b", Endpoint: "https://u:canary@h", AccessKey: "a", SecretKey: "canary"}), "s3MountConfiguration.endpoint"},
		"prefix":             {s3(&apiv1.S3MountConfiguration{Prefix: "a/../../b"}), "s3MountConfiguration.prefix"},
		"bucket":             {s3(&apiv1.S3MountConfiguration{Bucket: "../x"}), "s3MountConfiguration.bucket"},
	} {
		t.Run(name, func(t *testing.T) {
			_, fault := Read(c.m)
			require.NotNil(t, fault)
			require.Equal(t, c.property, fault.Property)
			require.NotContains(t, fault.Reason+fault.Value, "canary")
			require.NotEmpty(t, fault.Reason)
		})
	}
}

func TestReadAll(t *testing.T) {
	_, fault := ReadAll([]*apiv1.MountConfiguration{nfs("h:/e", "a", ""), nfs("h:/e", "a/b", "")})
	require.Equal(t, "[1]", fault.Property)
	_, fault = ReadAll([]*apiv1.MountConfiguration{nfs("h:/e", "a/b", ""), nfs("h:/e", "a/", "")})
	require.Equal(t, "[1]", fault.Property)
	plans, fault := ReadAll([]*apiv1.MountConfiguration{nfs("h:/e", "a", ""), nfs("h:/e", "ab", "")})
	require.Nil(t, fault)
	require.Len(t, plans, 2)
	_, fault = ReadAll([]*apiv1.MountConfiguration{nfs("h:/e", "a", ""), {}})
	require.Equal(t, "[1]", fault.Property)
	_, fault = ReadAll(make([]*apiv1.MountConfiguration, MaxPerNode+1))
	require.NotNil(t, fault)
}

// However options are written, what comes out are words that no tool takes for anything but options, and the last ones keep the node safe.
func FuzzOptions(f *testing.F) {
	for _, seed := range []string{"", "-o vers=4.1,sec=sys", "-o a -o b", "--read-only -r", "suid", "nosuid,suid", "dev=1", "-o=x", "--", "a=b=c", "vers=4,,ro", "\x00", "-oro"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, known := range []map[string]bool{nfsKnown, cifsKnown} {
			out, err := hostOptions(text, known)
			if err != nil {
				continue
			}
			require.Equal(t, []string{"nosuid", "nodev"}, out[len(out)-2:])
			for _, o := range out {
				name, _, _ := strings.Cut(o, "=")
				require.True(t, known[name], o)
				require.NotContains(t, []string{"suid", "dev", "remount", "bind", "credentials", "password"}, name)
				require.False(t, strings.ContainsAny(o, ", \t\r\n\x00\"'`$;&|<>()\\"), o)
			}
		}
		flags, err := objectFlags(text)
		if err != nil {
			return
		}
		for _, flag := range flags {
			require.True(t, strings.HasPrefix(flag, "--"), flag)
			require.False(t, strings.ContainsAny(flag, ", \t\r\n\x00\"'`$;&|<>()\\"), flag)
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, seed := range []string{"a", "a/b", "../a", "/a", "a/./b", "a//", "\\", "ä/ö"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		path, fault := checkPath(text)
		if fault != nil {
			return
		}
		for part := range strings.SplitSeq(path, "/") {
			require.NotContains(t, []string{"", ".", ".."}, part)
		}
		require.False(t, strings.ContainsAny(path, "\x00\n\\"))
	})
}
