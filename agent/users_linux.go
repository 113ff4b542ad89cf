package agent

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/batchyard/batchyard/internal/batcherr"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// openUmask lets the tasks' users get through the directories that the agent makes; what is secret has modes that no umask gives.
func openUmask() { syscall.Umask(0o022) }

// put makes or changes a user with whom people log in.
func (u *nodeUsers) put(ctx context.Context, m *agentv1.PutNodeUser) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !m.GetCreate() {
		if err := u.mine(m.GetName()); err != nil {
			return err
		}
	}
	if os.Geteuid() != 0 {
		return noUsers("The node's agent does not run as root, so it can't make users.")
	}
	key, err := publicKey(m.GetSshPublicKey())
	if err != nil {
		return err
	}
	if m.GetCreate() {
		if err := u.create(ctx, m); err != nil {
			return err
		}
	}
	// The last day on which the user may log in.
	expires := m.GetExpiryTime().AsTime().UTC().AddDate(0, 0, 1).Format("2006-01-02")
	if err := tool(ctx, "", "usermod", "--expiredate", expires, m.GetName()); err != nil {
		return err
	}
	if err := setPassword(ctx, m.GetName(), m.GetPassword()); err != nil {
		return err
	}
	return writeKey(m.GetName(), key)
}

func (u *nodeUsers) create(ctx context.Context, m *agentv1.PutNodeUser) error {
	if _, err := user.Lookup(m.GetName()); err == nil {
		return batcherr.Of(batcherr.CodeNodeUserExists)
	}
	// Noted first: a user that is half made can be deleted.
	if err := u.save(append(u.known(), m.GetName())); err != nil {
		return batcherr.Internal(err)
	}
	args := []string{"--create-home", "--shell", "/bin/sh"}
	if m.GetAdmin() {
		group, err := adminGroup()
		if err != nil {
			return err
		}
		args = append(args, "--groups", group)
	}
	return tool(ctx, "", "useradd", append(args, m.GetName())...)
}

// adminGroup is the group whose members may become root, by the distributions' rules.
func adminGroup() (string, error) {
	for _, name := range []string{"sudo", "wheel"} {
		if _, err := user.LookupGroup(name); err == nil {
			return name, nil
		}
	}
	return "", noUsers("The machine has no group of administrators (sudo, wheel).")
}

func setPassword(ctx context.Context, name, password string) error {
	if password == "" {
		return tool(ctx, "", "usermod", "--lock", name)
	}
	return tool(ctx, name+":"+password+"\n", "chpasswd")
}

func (u *nodeUsers) remove(ctx context.Context, name string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.mine(name); err != nil {
		return err
	}
	if _, err := user.Lookup(name); err == nil {
		if err := tool(ctx, "", "userdel", "--remove", "--force", name); err != nil {
			return err
		}
	}
	rest := slices.DeleteFunc(u.known(), func(known string) bool { return known == name })
	if err := u.save(rest); err != nil {
		return batcherr.Internal(err)
	}
	return nil
}

// tool runs one of the machine's tools for users. What it says goes into the error; a password is only ever on its input.
func tool(ctx context.Context, input, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	said := &bytes.Buffer{}
	cmd.Stderr = said
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrNotFound):
		return noUsers("The machine has no " + name + ".")
	case errors.As(err, &exit) && name == "userdel" && strings.Contains(said.String(), "mail spool"):
		return nil // there was no mail to delete
	}
	return batcherr.Internal(fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(said.String())))
}

// publicKey reads a key in OpenSSH's form, which Azure Batch wants in base64.
func publicKey(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	if decoded, err := base64.StdEncoding.DecodeString(text); err == nil {
		text = strings.TrimSpace(string(decoded))
	}
	kind, rest, _ := strings.Cut(text, " ")
	known := strings.HasPrefix(kind, "ssh-") || strings.HasPrefix(kind, "ecdsa-") || strings.HasPrefix(kind, "sk-")
	if !known || rest == "" || strings.ContainsAny(text, "\r\n\x00") {
		return "", batcherr.InvalidProperty("sshPublicKey", "", "The key is not one of OpenSSH.")
	}
	return text + "\n", nil
}

// writeKey replaces the user's keys. The home directory is the user's, so nothing in it is trusted to be what it looks like.
func writeKey(name, key string) error {
	account, err := user.Lookup(name)
	if err != nil {
		return batcherr.Internal(err)
	}
	uid, err1 := strconv.Atoi(account.Uid)
	gid, err2 := strconv.Atoi(account.Gid)
	home, err3 := os.OpenRoot(account.HomeDir)
	if err := errors.Join(err1, err2, err3); err != nil {
		return batcherr.Internal(err)
	}
	defer home.Close()
	const file = ".ssh/authorized_keys"
	if key == "" {
		if err := home.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return batcherr.Internal(err)
		}
		return nil
	}
	err = home.Mkdir(".ssh", 0o700)
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if removed := home.Remove(file); removed != nil && !errors.Is(removed, fs.ErrNotExist) {
		err = errors.Join(err, removed)
	}
	if err == nil {
		err = errors.Join(home.WriteFile(file, []byte(key), 0o600), home.Lchown(".ssh", uid, gid), home.Lchown(file, uid, gid))
	}
	if err != nil {
		return batcherr.Internal(err)
	}
	return nil
}
