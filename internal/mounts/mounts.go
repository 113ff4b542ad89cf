// Package mounts holds the rules of what pools mount on their nodes.
package mounts

import (
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// MaxPerNode is how many mounts a node has at most.
const MaxPerNode = 10

// Kind is what is mounted.
type Kind string

// The kinds. Those of objects are mounted by rclone, the others by the kernel.
const (
	NFS        Kind = "NFS"
	SMB        Kind = "SMB"
	AzureFiles Kind = "Azure Files"
	AzureBlob  Kind = "Azure Blob"
	S3         Kind = "S3"
)

// Plan is a mount that keeps the rules.
type Plan struct {
	Kind Kind
	// Path is where it is mounted, relative to the directory of mounts.
	Path string
	// Source is what people call it.
	Source string
	// Options are those of the kernel, or flags of rclone.
	Options []string
	// Username and Password are those of a share.
	Username, Password string
	// Blob and S3 are the mounts of objects, with their secrets.
	Blob *apiv1.AzureBlobFileSystemConfiguration
	S3   *apiv1.S3MountConfiguration
}

// Fault is what keeps a mount from the rules. It names no secret.
type Fault struct {
	// Property is the path of the property that is wrong; empty: the whole.
	Property, Value, Reason string
}

func (f *Fault) Error() string { return f.Property + ": " + f.Reason }

// ReadAll reads all mounts of a pool.
func ReadAll(list []*apiv1.MountConfiguration) ([]*Plan, *Fault) {
	if len(list) > MaxPerNode {
		return nil, &Fault{Reason: fmt.Sprintf("A pool has at most %d mounts.", MaxPerNode)}
	}
	out := make([]*Plan, 0, len(list))
	for i, m := range list {
		plan, fault := Read(m)
		if fault != nil {
			fault.Property = strings.TrimSuffix(fmt.Sprintf("[%d].%s", i, fault.Property), ".")
			return nil, fault
		}
		for _, other := range out {
			if nested(plan.Path, other.Path) || nested(other.Path, plan.Path) {
				return nil, &Fault{Property: fmt.Sprintf("[%d]", i), Value: plan.Path, Reason: "Two mounts have the same path, or one is inside the other."}
			}
		}
		out = append(out, plan)
	}
	return out, nil
}

func nested(inner, outer string) bool { return inner == outer || strings.HasPrefix(inner, outer+"/") }

// Read holds one mount against the rules.
func Read(m *apiv1.MountConfiguration) (*Plan, *Fault) {
	plan := &Plan{}
	var name, path, options string
	var fault *Fault
	given := 0
	if c := m.GetNfsMountConfiguration(); c != nil {
		given++
		name, path, options = "nfsMountConfiguration", c.RelativeMountPath, "mountOptions"
		fault = plan.nfs(c)
	}
	if c := m.GetCifsMountConfiguration(); c != nil {
		given++
		name, path, options = "cifsMountConfiguration", c.RelativeMountPath, "mountOptions"
		fault = plan.smb(c)
	}
	if c := m.GetAzureFileShareConfiguration(); c != nil {
		given++
		name, path, options = "azureFileShareConfiguration", c.RelativeMountPath, "mountOptions"
		fault = plan.azureFiles(c)
	}
	if c := m.GetAzureBlobFileSystemConfiguration(); c != nil {
		given++
		name, path, options = "azureBlobFileSystemConfiguration", c.RelativeMountPath, "blobfuseOptions"
		fault = plan.azureBlob(c)
	}
	if c := m.GetS3MountConfiguration(); c != nil {
		given++
		name, path, options = "s3MountConfiguration", c.RelativeMountPath, "mountOptions"
		fault = plan.s3(c)
	}
	if given != 1 {
		return nil, &Fault{Reason: "A mount has exactly one configuration."}
	}
	if fault == nil {
		plan.Path, fault = checkPath(path)
	}
	if fault != nil {
		if fault.Property == "" {
			fault.Property = options
		}
		fault.Property = name + "." + fault.Property
		return nil, fault
	}
	return plan, nil
}

// Bounds of paths.
const (
	maxPathBytes = 255
	maxPathDepth = 8
)

// checkPath holds the place of a mount against the rules: it never leads out of the directory of mounts.
func checkPath(path string) (string, *Fault) {
	wrong := func(reason string) (string, *Fault) {
		return "", &Fault{Property: "relativeMountPath", Value: printable(path), Reason: reason}
	}
	trimmed := strings.TrimSuffix(path, "/")
	switch {
	case trimmed == "":
		return wrong("A mount needs a path.")
	case len(trimmed) > maxPathBytes || strings.Count(trimmed, "/") >= maxPathDepth:
		return wrong("The path is too long.")
	case strings.HasPrefix(trimmed, "/"):
		return wrong("The path is relative to the node's directory of mounts.")
	case !plain(trimmed) || strings.ContainsAny(trimmed, `\`):
		return wrong("The path has characters that no path of a mount has.")
	}
	for part := range strings.SplitSeq(trimmed, "/") {
		if part == "" || part == "." || part == ".." {
			return wrong("The path has no empty parts, and none that are . or ..")
		}
	}
	return trimmed, nil
}

// plain says whether a text is printable Unicode.
func plain(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

func printable(text string) string {
	if !plain(text) {
		return ""
	}
	return text
}

// address says whether a text can be a part of the name of a share: no blanks, commas, or what a tool may take for an option.
func address(text string) bool {
	return text != "" && text[0] != '-' && plain(text) && !strings.ContainsAny(text, " ,\\\"'`$;&|<>")
}

// host says whether a text is the name or the address of a machine.
func host(text string) bool {
	bare := strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	return address(text) && allOf(bare, func(b byte) bool { return isNameByte(b) || 'A' <= b && b <= 'Z' || b == '.' || b == ':' })
}

func (p *Plan) nfs(c *apiv1.NfsMountConfiguration) (fault *Fault) {
	p.Kind, p.Source = NFS, c.Source
	at := strings.Index(c.Source, ":/")
	if at < 1 || !host(c.Source[:at]) || !address(c.Source) {
		return &Fault{Property: "source", Value: printable(c.Source), Reason: "The source is HOST:/PATH."}
	}
	p.Options, fault = options(c.MountOptions, nfsKnown)
	return fault
}

var (
	nfsKnown  = names(anyOptions, nfsOptions)
	cifsKnown = names(anyOptions, cifsOptions)
)

func options(text string, known map[string]bool) ([]string, *Fault) {
	out, err := hostOptions(text, known)
	if err != nil {
		return nil, &Fault{Reason: sentence(err)}
	}
	return out, nil
}

// sentence makes an error one.
func sentence(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

func (p *Plan) smb(c *apiv1.CifsMountConfiguration) (fault *Fault) {
	source := strings.ReplaceAll(c.Source, `\`, "/")
	p.Kind, p.Source, p.Username, p.Password = SMB, source, c.Username, c.Password
	server, share, ok := strings.Cut(strings.TrimPrefix(source, "//"), "/")
	switch {
	case !strings.HasPrefix(source, "//") || !ok || !host(server) || !address(share):
		return &Fault{Property: "source", Value: printable(c.Source), Reason: "The source is //HOST/SHARE."}
	case c.Username == "" || !plain(c.Username) || strings.ContainsAny(c.Username, ",="):
		return &Fault{Property: "username", Value: printable(c.Username), Reason: "The name of a user has no commas and no =."}
	case !plain(c.Password):
		return &Fault{Property: "password", Reason: "A password has printable characters only."}
	}
	p.Options, fault = options(c.MountOptions, cifsKnown)
	return fault
}

func (p *Plan) azureFiles(c *apiv1.AzureFileShareConfiguration) *Fault {
	at, err := url.Parse(c.AzureFileUrl)
	if err != nil || at.Scheme != "https" || at.Host == "" || at.User != nil || at.RawQuery != "" || at.Fragment != "" || strings.Trim(at.Path, "/") == "" {
		return &Fault{Property: "azureFileUrl", Reason: "The URL is https://ACCOUNT.file.core.windows.net/SHARE."}
	}
	fault := p.smb(&apiv1.CifsMountConfiguration{
		Source: "//" + at.Hostname() + "/" + strings.Trim(at.Path, "/"), Username: c.AccountName, Password: c.AccountKey, MountOptions: c.MountOptions,
	})
	p.Kind = AzureFiles
	renamed := map[string]string{"source": "azureFileUrl", "username": "accountName", "password": "accountKey"}
	if fault != nil && renamed[fault.Property] != "" {
		fault.Property = renamed[fault.Property]
	}
	return fault
}

func (p *Plan) azureBlob(c *apiv1.AzureBlobFileSystemConfiguration) *Fault {
	p.Kind, p.Source, p.Blob = AzureBlob, c.AccountName+"/"+c.ContainerName, c
	small := func(b byte) bool { return 'a' <= b && b <= 'z' || '0' <= b && b <= '9' }
	switch {
	case len(c.AccountName) < 3 || len(c.AccountName) > 24 || !allOf(c.AccountName, small):
		return &Fault{Property: "accountName", Value: printable(c.AccountName), Reason: "The name of an account has 3 to 24 lower-case letters and digits."}
	case len(c.ContainerName) > 63 || !allOf(c.ContainerName, func(b byte) bool { return small(b) || b == '-' || b == '$' }) || c.ContainerName[0] == '-':
		return &Fault{Property: "containerName", Value: printable(c.ContainerName), Reason: "The name of a container has lower-case letters, digits and -."}
	case (c.AccountKey == "") == (c.SasKey == ""):
		return &Fault{Property: "accountKey", Reason: "Either accountKey or sasKey is given."}
	case !plain(c.AccountKey) || !plain(c.SasKey):
		return &Fault{Property: "accountKey", Reason: "A key has printable characters only."}
	}
	return p.objects(c.BlobfuseOptions)
}

func (p *Plan) s3(c *apiv1.S3MountConfiguration) *Fault {
	p.Kind, p.S3 = S3, c
	p.Source = "s3://" + strings.TrimSuffix(c.Bucket+"/"+strings.Trim(c.Prefix, "/"), "/")
	bucket := func(b byte) bool { return isNameByte(b) || 'A' <= b && b <= 'Z' || b == '.' }
	switch {
	case len(c.Bucket) > 255 || !allOf(c.Bucket, bucket) || strings.HasPrefix(c.Bucket, "-") || strings.HasPrefix(c.Bucket, "."):
		return &Fault{Property: "bucket", Value: printable(c.Bucket), Reason: "The name of a bucket has letters, digits, - and dots."}
	case len(c.Prefix) > 1000 || !plain(c.Prefix) || strings.Contains("/"+strings.Trim(c.Prefix, "/")+"/", "/../"):
		return &Fault{Property: "prefix", Value: printable(c.Prefix), Reason: "The prefix has printable characters and no part that is .."}
	case (c.AccessKey == "") != (c.SecretKey == ""):
		return &Fault{Property: "secretKey", Reason: "Both keys are given, or none."}
	case !plain(c.AccessKey) || !plain(c.SecretKey) || !plain(c.Region):
		return &Fault{Property: "accessKey", Reason: "Keys and regions have printable characters only."}
	case c.Endpoint != "" && c.AccessKey == "":
		return &Fault{Property: "accessKey", Reason: "A store of one's own needs its keys."}
	case c.AccessKey != "" && c.Bucket == "":
		return &Fault{Property: "bucket", Reason: "Keys of one's own need the name of their bucket."}
	}
	if at, err := url.Parse(c.Endpoint); c.Endpoint != "" &&
		(err != nil || at.Scheme != "https" && at.Scheme != "http" || at.Host == "" || at.User != nil || at.RawQuery != "" || at.Fragment != "") {
		return &Fault{Property: "endpoint", Reason: "The endpoint is https://HOST[:PORT]."}
	}
	return p.objects(c.MountOptions)
}

func (p *Plan) objects(text string) *Fault {
	flags, err := objectFlags(text)
	if err != nil {
		return &Fault{Reason: sentence(err)}
	}
	p.Options = flags
	return nil
}
