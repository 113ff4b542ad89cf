package azure

import (
	"context"
	"strings"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// authenticate says whom the request comes from.
func (s *server) authenticate(c *call) (Caller, error) {
	header := c.r.Header.Get("Authorization")
	if header == "" {
		return Caller{}, batcherr.MissingHeader("Authorization")
	}
	scheme, credentials, _ := strings.Cut(strings.TrimSpace(header), " ")
	credentials = strings.TrimSpace(credentials)
	switch {
	case credentials == "":
		return Caller{}, batcherr.Of(batcherr.CodeInvalidAuthenticationInfo)
	case strings.EqualFold(scheme, "SharedKey"):
		return s.sharedKey(c, credentials)
	case strings.EqualFold(scheme, "Bearer"):
		return s.bearer(c.r.Context(), credentials)
	default:
		return Caller{}, batcherr.Of(batcherr.CodeInvalidAuthenticationInfo)
	}
}

func (s *server) sharedKey(c *call, credentials string) (Caller, error) {
	account, signature, err := parseCredentials(credentials)
	if err != nil {
		return Caller{}, err
	}
	if err := checkDate(c.r.Header, s.config.Now()); err != nil {
		return Caller{}, err
	}
	keys, err := s.config.Keys.AccountKeys(c.r.Context(), account)
	if err != nil && !batcherr.HasKind(err, batcherr.KindNotFound) {
		return Caller{}, err
	}
	if len(keys) == 0 {
		keys = [][]byte{[]byte(c.id)} // so that an unknown account takes as long as a wrong key
	}
	if !verifySharedKey(newSignedRequest(c.r, c.path, account), keys, signature) || err != nil {
		return Caller{}, batcherr.BadSignature("The signature in the Authorization header does not match the request.")
	}
	return Caller{Account: account, Role: apiv1.TokenRole_TOKEN_ROLE_USER}, nil
}

func (s *server) bearer(ctx context.Context, token string) (Caller, error) {
	if s.config.Tokens == nil {
		return Caller{}, batcherr.Unauthenticated("Bearer tokens are not accepted here.")
	}
	caller, err := s.config.Tokens.VerifyToken(ctx, token)
	switch {
	case err == nil:
		return caller, nil
	case batcherr.HasKind(err, batcherr.KindUnavailable), batcherr.HasKind(err, batcherr.KindForbidden):
		return Caller{}, err
	default:
		return Caller{}, batcherr.Unauthenticated("The access token is not valid or has expired.").Wrap(err)
	}
}
