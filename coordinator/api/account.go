package api

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/coordinator/identity"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	"github.com/batchyard/batchyard/internal/trust"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// defaultTokenLife is how long a token holds where the caller does not say.
const defaultTokenLife = 24 * time.Hour

type accountService struct {
	apiv1.UnimplementedAccountServiceServer
	*core
}

// randomHex makes n random bytes, in hex.
func (c *core) randomHex(n int) string {
	b := make([]byte, n)
	if _, err := io.ReadFull(c.Rand, b); err != nil {
		panic(err) // the system's randomness never fails
	}
	return hex.EncodeToString(b)
}

// ownAccount is the account that a call is about: the caller's, unless an administrator names another.
func (g grant) ownAccount(named string) (string, error) {
	if named == "" || named == g.Account {
		return g.Account, nil
	}
	if g.Access != identity.AccessAdmin {
		return "", batcherr.Of(batcherr.CodeAccountNotFound)
	}
	return named, nil
}

// account reads an account that the caller may see.
func (c *core) account(ctx context.Context, g grant, named string) (*raftlogv1.AccountRecord, error) {
	id, err := g.ownAccount(named)
	if err != nil {
		return nil, err
	}
	if err := c.Reader.Barrier(ctx); err != nil {
		return nil, err
	}
	rec, ok := c.State.Account(id)
	if !ok {
		return nil, batcherr.Of(batcherr.CodeAccountNotFound)
	}
	return rec, nil
}

func (s *accountService) CreateAccount(ctx context.Context, req *apiv1.CreateAccountRequest) (*apiv1.Account, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	id := req.GetAccountId()
	if !lifecycle.ValidAccountID(id) {
		return nil, invalid("accountId", id, "An account's id is 3 to 24 lower-case letters and digits.")
	}
	if req.GetStore() != nil {
		if err := checkGiven(req.GetStore()); err != nil {
			return nil, err
		}
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	if _, exists := s.State.Account(id); exists {
		return nil, batcherr.Of(batcherr.CodeAccountExists)
	}
	plan, err := s.Stores.Plan(ctx, id, req.GetStore())
	if err != nil {
		return nil, err
	}
	rec := &raftlogv1.AccountRecord{Account: &apiv1.Account{Id: id, CreationTime: timestamppb.New(s.Now()), Bucket: plan.Bucket}}
	if rec.SealedStore, err = s.sealPlan(id, plan); err != nil {
		return nil, err
	}
	for _, sealed := range []*[]byte{&rec.SealedPrimary, &rec.SealedSecondary} {
		if *sealed, err = s.newKey(id); err != nil {
			return nil, internal(err)
		}
	}
	if err := s.putAccount(ctx, g, rec, true); err != nil {
		return nil, err
	}
	if err := s.Stores.Provide(ctx, plan); err != nil {
		// An account without its store is none.
		return nil, errors.Join(notProvided(plan, err), s.dropAccount(context.WithoutCancel(ctx), g, id))
	}
	return rec.Account, nil
}

func (c *core) putAccount(ctx context.Context, g grant, rec *raftlogv1.AccountRecord, create bool) error {
	_, err := c.proposeFor(ctx, g, rec.Account.Id, &raftlogv1.Command{Kind: &raftlogv1.Command_PutAccount{
		PutAccount: &raftlogv1.PutAccount{Record: rec, Create: create},
	}})
	return err
}

func (c *core) dropAccount(ctx context.Context, g grant, id string) error {
	_, err := c.proposeFor(ctx, g, id, &raftlogv1.Command{Kind: &raftlogv1.Command_DeleteAccount{
		DeleteAccount: &raftlogv1.DeleteAccount{WithJoinTokens: true},
	}})
	return err
}

// keyContext binds a sealed key to its account.
func keyContext(account string) []byte { return []byte("account key of " + account) }

func (c *core) newKey(account string) ([]byte, error) {
	key, err := identity.NewAccountKey(c.Rand)
	if err != nil {
		return nil, err
	}
	return c.Sealer.Seal(key, keyContext(account))
}

// SharedKeys are the keys with which an account's REST requests may be signed; none for an unknown account.
func (s *Server) SharedKeys(account string) ([][]byte, error) {
	rec, ok := s.core.State.Account(account)
	if !ok {
		return nil, nil
	}
	var out [][]byte
	for _, sealed := range [][]byte{rec.SealedPrimary, rec.SealedSecondary} {
		text, err := s.core.Sealer.Unseal(sealed, keyContext(account))
		if err != nil {
			return nil, internal(err)
		}
		key, err := base64.StdEncoding.DecodeString(string(text.Reveal()))
		if err != nil {
			return nil, internal(err)
		}
		out = append(out, key)
	}
	return out, nil
}

func (s *accountService) GetAccount(ctx context.Context, req *apiv1.GetAccountRequest) (*apiv1.Account, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	rec, err := s.account(ctx, g, req.GetAccountId())
	if err != nil {
		return nil, err
	}
	return rec.Account, nil
}

func (s *accountService) ListAccounts(ctx context.Context, _ *apiv1.ListAccountsRequest) (*apiv1.ListAccountsResponse, error) {
	if err := s.Reader.Barrier(ctx); err != nil {
		return nil, err
	}
	out := &apiv1.ListAccountsResponse{}
	for _, rec := range s.State.Accounts() {
		out.Accounts = append(out.Accounts, rec.Account)
	}
	slices.SortFunc(out.Accounts, func(a, b *apiv1.Account) int { return strings.Compare(a.Id, b.Id) })
	return out, nil
}

func (s *accountService) DeleteAccount(ctx context.Context, req *apiv1.DeleteAccountRequest) (*apiv1.Empty, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	if req.GetAccountId() == "" {
		return nil, batcherr.MissingProperty("accountId")
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	if err := s.dropAccount(ctx, g, req.GetAccountId()); err != nil {
		return nil, err
	}
	// What can't be withdrawn now is withdrawn when the next term begins.
	return &apiv1.Empty{}, s.withdraw(ctx)
}

func (s *accountService) GetAccountKeys(ctx context.Context, req *apiv1.GetAccountKeysRequest) (*apiv1.AccountKeys, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	rec, err := s.account(ctx, g, req.GetAccountId())
	if err != nil {
		return nil, err
	}
	return s.showKeys(rec)
}

func (c *core) showKeys(rec *raftlogv1.AccountRecord) (*apiv1.AccountKeys, error) {
	out := &apiv1.AccountKeys{AccountId: rec.Account.Id, Endpoint: c.Endpoint()}
	for _, key := range []struct {
		target *string
		sealed []byte
	}{{&out.Primary, rec.SealedPrimary}, {&out.Secondary, rec.SealedSecondary}} {
		secret, err := c.Sealer.Unseal(key.sealed, keyContext(rec.Account.Id))
		if err != nil {
			return nil, internal(err)
		}
		*key.target = string(secret.Reveal())
	}
	return out, nil
}

func (s *accountService) RegenerateAccountKey(ctx context.Context, req *apiv1.RegenerateAccountKeyRequest) (*apiv1.AccountKeys, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	rec, err := s.account(ctx, g, req.GetAccountId())
	if err != nil {
		return nil, err
	}
	sealed, err := s.newKey(rec.Account.Id)
	if err != nil {
		return nil, internal(err)
	}
	changed := proto.CloneOf(rec)
	switch req.GetKey() {
	case apiv1.AccountKeyName_ACCOUNT_KEY_NAME_PRIMARY:
		changed.SealedPrimary = sealed
	case apiv1.AccountKeyName_ACCOUNT_KEY_NAME_SECONDARY:
		changed.SealedSecondary = sealed
	default:
		return nil, invalid("key", req.GetKey().String(), "The key is primary or secondary.")
	}
	if err := s.putAccount(ctx, g, changed, false); err != nil {
		return nil, err
	}
	return s.showKeys(changed)
}

// accessOf is what a role stands for in tokens.
var accessOf = map[apiv1.TokenRole]identity.Access{
	apiv1.TokenRole_TOKEN_ROLE_ADMIN: identity.AccessAdmin, apiv1.TokenRole_TOKEN_ROLE_USER: identity.AccessUser,
	apiv1.TokenRole_TOKEN_ROLE_READER: identity.AccessReader,
}

func (s *accountService) IssueToken(ctx context.Context, req *apiv1.IssueTokenRequest) (*apiv1.IssueTokenResponse, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	access, ok := accessOf[req.GetRole()]
	if !ok {
		return nil, invalid("role", req.GetRole().String(), "The role is admin, user or reader.")
	}
	if access == identity.AccessAdmin && g.Access != identity.AccessAdmin {
		return nil, batcherr.Forbidden("A token can't give more than the caller has.")
	}
	rec, err := s.account(ctx, g, req.GetAccountId())
	if err != nil {
		return nil, err
	}
	life := defaultTokenLife
	if req.GetTtl() != nil {
		life = req.GetTtl().AsDuration()
	}
	token, claims, err := s.Tokens.Issue(identity.Claims{Subject: g.Subject, Account: rec.Account.Id, Access: access}, life)
	if err != nil {
		return nil, invalid("ttl", life.String(), err.Error())
	}
	return &apiv1.IssueTokenResponse{Token: text(token), ExpiryTime: timestamppb.New(claims.Expires)}, nil
}

func text(s trust.Secret) string { return string(s.Reveal()) }
