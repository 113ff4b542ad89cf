package session

import (
	"errors"
	"net"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"github.com/batchyard/batchyard/internal/batcherr"
)

// leaderKeys are the keys of the error detail in which a coordinator that does not lead names who does: that of agents'
// sessions and that of users' calls.
var leaderKeys = [...]string{"leader", "LeaderAddress"}

// LeaderOf finds the leader's host:port in a refusal.
func LeaderOf(err error) (string, bool) {
	if err == nil {
		return "", false
	}
	for _, key := range leaderKeys {
		if address, ok := batcherr.FromGRPC(err).Value(key); ok && isAddress(address) {
			return address, true
		}
	}
	var carrier interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &carrier) {
		return "", false
	}
	for _, detail := range carrier.GRPCStatus().Details() {
		info, ok := detail.(*errdetails.ErrorInfo)
		if address := info.GetMetadata()[leaderKeys[0]]; ok && isAddress(address) {
			return address, true
		}
	}
	return "", false
}

func isAddress(text string) bool {
	host, port, err := net.SplitHostPort(text)
	return err == nil && host != "" && port != ""
}
