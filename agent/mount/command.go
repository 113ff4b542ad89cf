package mount

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/batchyard/batchyard/internal/mounts"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// command is how a file system is mounted. What is secret is in env, which only the user of the process can read, or in secret, which the tool reads
// from a pipe: never among the arguments.
type command struct {
	tool     string
	packages string // where the tool comes from
	args     []string
	env      []string
	secret   string
	daemon   bool // the tool serves the file system for as long as it runs
	// probe are the arguments with which the tool shows what it would mount; none: mounting shows it.
	probe  []string
	module string
	caPEM  []byte // for the file caName in the mount's own directory
}

// caName is the file with the authority of a store.
const caName = "ca.pem"

// place is what a command needs to know beside the plan.
type place struct {
	target string // absolute
	own    string // directory of the mount, for nobody else
	store  *apiv1.StoreAccess
	// blobURL is where the containers of an account of Azure Storage are.
	blobURL func(account string) string
}

// commandOf says how a plan is carried out.
func commandOf(p *mounts.Plan, at place) (command, error) {
	switch p.Kind {
	case mounts.NFS:
		return command{
			tool: "mount.nfs", packages: "nfs-common, or nfs-utils", module: "nfs",
			args: []string{p.Source, at.target, "-o", strings.Join(p.Options, ",")},
		}, nil
	case mounts.SMB, mounts.AzureFiles:
		options := append([]string{"username=" + p.Username}, p.Options...)
		return command{
			tool: "mount.cifs", packages: "cifs-utils", module: "cifs",
			args: []string{p.Source, at.target, "-o", strings.Join(options, ",")},
			env:  []string{"PASSWD_FD=" + strconv.Itoa(secretFD)}, secret: p.Password,
		}, nil
	case mounts.AzureBlob:
		return blobCommand(p, at), nil
	case mounts.S3:
		return s3Command(p, at)
	}
	return command{}, fmt.Errorf("this agent does not know how to mount %s", p.Kind)
}

// secretFD is the descriptor from which a tool reads its secret.
const secretFD = 3

// remote is what rclone's environment calls the store.
const remote = "BATCHYARD"

// rclone serves a bucket. Files are written through a cache on the node, and uploaded as soon as they are closed.
func rclone(p *mounts.Plan, at place, path string, settings map[string]string) command {
	c := command{tool: "rclone", packages: "rclone and fuse3", daemon: true, module: "fuse"}
	c.args = append([]string{
		"mount", remote + ":" + path, at.target, "--config=", "--cache-dir=" + at.own + "/cache", "--log-level=NOTICE",
		"--allow-other", "--default-permissions", "--umask=0000", "--dir-perms=0777", "--file-perms=0777",
		"--vfs-cache-mode=writes", "--vfs-write-back=0s", "--dir-cache-time=10s",
	}, p.Options...)
	c.probe = []string{
		"lsf", remote + ":" + path, "--config=", "--max-depth=1", "--retries=1", "--low-level-retries=2", "--contimeout=10s", "--timeout=15s",
	}
	for name, value := range settings {
		if value != "" {
			c.env = append(c.env, "RCLONE_CONFIG_"+remote+"_"+name+"="+value)
		}
	}
	return c
}

func s3Command(p *mounts.Plan, at place) (command, error) {
	c := p.S3
	settings := map[string]string{
		"TYPE": "s3", "PROVIDER": "Other", "NO_CHECK_BUCKET": "true", "ENDPOINT": c.Endpoint, "REGION": c.Region,
		"ACCESS_KEY_ID": c.AccessKey, "SECRET_ACCESS_KEY": c.SecretKey,
	}
	bucket, ca := c.Bucket, []byte(nil)
	if c.AccessKey == "" || c.Endpoint == "" {
		if at.store.GetEndpoint() == "" {
			return command{}, fmt.Errorf("the account has no store")
		}
		settings["ENDPOINT"], ca = at.store.Endpoint, at.store.CaPem
		if c.Region == "" {
			settings["REGION"] = at.store.Region
		}
	}
	if c.AccessKey == "" {
		settings["ACCESS_KEY_ID"], settings["SECRET_ACCESS_KEY"] = at.store.AccessKey, at.store.SecretKey
		settings["SESSION_TOKEN"] = at.store.SessionToken
		if bucket == "" {
			bucket = at.store.Bucket
		}
	}
	out := rclone(p, at, strings.TrimSuffix(bucket+"/"+strings.Trim(c.Prefix, "/"), "/"), settings)
	if out.caPEM = ca; len(ca) > 0 {
		out.args = append(out.args, "--ca-cert="+at.own+"/"+caName)
		out.probe = append(out.probe, "--ca-cert="+at.own+"/"+caName)
	}
	return out, nil
}

func blobCommand(p *mounts.Plan, at place) command {
	c := p.Blob
	settings := map[string]string{"TYPE": "azureblob", "ACCOUNT": c.AccountName, "KEY": c.AccountKey}
	if c.SasKey != "" {
		settings = map[string]string{
			"TYPE": "azureblob", "SAS_URL": at.blobURL(c.AccountName) + "/" + c.ContainerName + "?" + strings.TrimPrefix(c.SasKey, "?"),
		}
	}
	return rclone(p, at, c.ContainerName, settings)
}
