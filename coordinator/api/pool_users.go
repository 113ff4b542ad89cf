package api

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

const (
	maxAccounts    = 100 // of a pool
	maxAccountName = 20  // characters
	// minAccountID keeps accounts of tasks apart from root and the system's own users.
	minAccountID = 1000
)

// checkAccounts holds the named accounts of a pool against the rules, and forgets the secrets that nothing needs.
func checkAccounts(at path, accounts []*apiv1.UserAccount) error {
	if len(accounts) > maxAccounts {
		return invalid(at, strconv.Itoa(len(accounts)), "A pool has at most 100 user accounts.")
	}
	seen := map[string]bool{}
	for i, a := range accounts {
		here, key := at.index(i), strings.ToLower(a.Name)
		switch {
		case strings.TrimSpace(a.Name) == "" || utf8.RuneCountInString(a.Name) > maxAccountName:
			return invalid(here.at("name"), a.Name, "The name of a user account has 1 to 20 characters.")
		case seen[key]:
			return invalid(here.at("name"), a.Name, "The name is there twice.")
		}
		seen[key] = true
		if err := checkAccountIDs(here.at("linuxUserConfiguration"), a.LinuxUserConfiguration); err != nil {
			return err
		}
		a.Password = ""
		if a.LinuxUserConfiguration != nil {
			a.LinuxUserConfiguration.SshPrivateKey = ""
		}
	}
	return nil
}

func checkAccountIDs(at path, c *apiv1.LinuxUserConfiguration) error {
	if c == nil {
		return nil
	}
	if (c.Uid == nil) != (c.Gid == nil) {
		return invalid(at, "", "Both of uid and gid are given, or neither.")
	}
	if c.Uid == nil {
		return nil
	}
	for i, id := range []int32{*c.Uid, *c.Gid} {
		if id < minAccountID || id >= lifecycle.FirstTaskUser {
			return invalidNumber(at.at([]string{"uid", "gid"}[i]), id, "The number is from 1000 to 1899999999: others belong to the system and to tasks.")
		}
	}
	return nil
}
