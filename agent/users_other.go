//go:build !linux

package agent

import (
	"context"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

func openUmask() {}

func (u *nodeUsers) put(context.Context, *agentv1.PutNodeUser) error {
	return noUsers("Users are made on nodes that run Linux only.")
}

func (u *nodeUsers) remove(_ context.Context, name string) error { return u.mine(name) }
