package azure

import (
	"context"
	"strings"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// olderRoutes are those that 2025-06-01 no longer has. Certificates never existed here, so that they answer as an account
// without any.
func olderRoutes() []Route {
	const certificate = "/certificates({key})"
	return []Route{
		{Operation: "Certificate_Add", Track1: "certificate.add", Method: post, Pattern: "/certificates", Status: created, Until: version2025June, handle: addCertificate},
		{Operation: "Certificate_List", Track1: "certificate.list", Method: get, Pattern: "/certificates", Status: ok, Until: version2025June, handle: listCertificates},
		{Operation: "Certificate_Get", Track1: "certificate.get", Method: get, Pattern: certificate, Status: ok, Until: version2025June, handle: noCertificate},
		{Operation: "Certificate_Delete", Track1: "certificate.delete", Method: remove, Pattern: certificate, Status: accepted, Until: version2025June, handle: noCertificate},
		{Operation: "Certificate_CancelDeletion", Track1: "certificate.cancel_deletion", Method: post, Pattern: certificate + "/canceldelete", Status: empty, Until: version2025June, handle: noCertificate},
		{Operation: "ComputeNode_GetRemoteDesktop", Track1: "compute_node.get_remote_desktop", Method: get, Pattern: "/pools/{poolId}/nodes/{nodeId}/rdp", Status: ok, Until: version2024July, handle: getRemoteDesktop},
		{Operation: "Pool_GetAllLifetimeStatistics", Track1: "pool.get_all_lifetime_statistics", Method: get, Pattern: "/lifetimepoolstats", Status: ok, Until: version2023May, handle: lifetimeStatistics},
		{Operation: "Job_GetAllLifetimeStatistics", Track1: "job.get_all_lifetime_statistics", Method: get, Pattern: "/lifetimejobstats", Status: ok, Until: version2023May, handle: lifetimeStatistics},
	}
}

// addCertificate refuses as the real service does for accounts that may not use the operation.
func addCertificate(context.Context, *call) error {
	return batcherr.Of(batcherr.CodeInvalidRestAPIForAccountSetting).With(batcherr.ValueReason, "Certificates are retired.")
}

func listCertificates(_ context.Context, c *call) error {
	return list(c, c.encoder(), "certificates", []*apiv1.NameValuePair(nil), &listing{}, "")
}

func noCertificate(_ context.Context, c *call) error {
	for _, name := range []string{"thumbprintAlgorithm", "thumbprint"} {
		if strings.TrimSpace(c.param(name)) == "" {
			return batcherr.Of(batcherr.CodeInvalidUri).With(batcherr.ValueReason, "The certificate's "+name+" is missing.")
		}
	}
	return batcherr.Of(batcherr.CodeCertificateNotFound)
}

// getRemoteDesktop is only for Windows nodes with a reachable address.
func getRemoteDesktop(ctx context.Context, c *call) error {
	if _, err := c.node(ctx); err != nil {
		return err
	}
	return batcherr.Of(batcherr.CodeOperationNotValidOnNode).With(batcherr.ValueReason, "Remote desktop is not available on the node.")
}

func lifetimeStatistics(context.Context, *call) error {
	return batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "Lifetime statistics are not kept for this account.")
}
