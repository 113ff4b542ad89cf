package api

import (
	"context"
	"encoding/json"

	"google.golang.org/grpc/metadata"

	"github.com/batchyard/batchyard/internal/batcherr"
)

// forwardHeader holds the caller of a call that one coordinator hands to another.
const forwardHeader = "batchyard-caller-bin"

// Forward prepares the call of a caller that this coordinator has authenticated for the leader, which believes it because of the certificate
// on the connection.
func Forward(ctx context.Context, caller Caller) (context.Context, error) {
	b, err := json.Marshal(caller)
	if err != nil {
		return nil, batcherr.Internal(err)
	}
	return metadata.AppendToOutgoingContext(ctx, forwardHeader, string(b)), nil
}

// forwardedCaller reads what Forward wrote. From anyone but a coordinator it is refused.
func forwardedCaller(ctx context.Context, md metadata.MD) (c Caller, ok bool, err error) {
	values := md.Get(forwardHeader)
	if len(values) == 0 {
		return Caller{}, false, nil
	}
	if _, err := peerServer(ctx); err != nil {
		return Caller{}, false, err
	}
	if len(values) > 1 || json.Unmarshal([]byte(values[0]), &c) != nil {
		return Caller{}, false, batcherr.Unauthenticated("The forwarded caller can't be read.")
	}
	return c, true, nil
}
