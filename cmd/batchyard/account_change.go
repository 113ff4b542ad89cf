package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// storeFlags say where an account's objects are to be.
type storeFlags struct {
	endpoint, region, bucket, caFile string
}

func (o *storeFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.endpoint, "store-endpoint", "", "URL of the S3-compatible store (default the cluster's)")
	flags.StringVar(&o.region, "store-region", "", "region of the store (default the cluster's)")
	flags.StringVar(&o.bucket, "store-bucket", "", "bucket of the account (default the account's id)")
	flags.StringVar(&o.caFile, "store-ca", "", "PEM file with the store's authority (default the system's)")
}

const storeKeysHelp = "The credentials of the store are read from the variables " + envStoreAccessKey + " and " + envStoreSecretKey + `.
They should reach the account's own bucket and nothing else.`

// access is the store that the flags and the environment name; nil where they name none.
func (o *storeFlags) access(f *factory) (*apiv1.StoreAccess, error) {
	out := &apiv1.StoreAccess{
		Endpoint: o.endpoint, Region: o.region, Bucket: o.bucket,
		AccessKey: f.getenv(envStoreAccessKey), SecretKey: f.getenv(envStoreSecretKey),
	}
	if out.AccessKey == "" && out.SecretKey == "" {
		if *o != (storeFlags{}) {
			return nil, usagef("a store of its own needs its credentials: set %s and %s", envStoreAccessKey, envStoreSecretKey)
		}
		return nil, nil
	}
	if o.caFile != "" {
		var err error
		if out.CaPem, err = os.ReadFile(o.caFile); err != nil {
			return nil, usagef("the store's authority can't be read: %v", err)
		}
	}
	return out, nil
}

func newAccountCreateCommand(f *factory) *cobra.Command {
	opts := &storeFlags{}
	cmd := &cobra.Command{
		Use:   "create ACCOUNT",
		Short: "Make an account, with two keys, a bucket and credentials for it",
		Long: `Make an account. Its id is 3 to 24 lower-case letters and digits. Nothing crosses accounts: pools, jobs, files, applications and
tokens of one are not to be found by another.

Where the cluster runs its own object store, the account gets a bucket in it and credentials that reach nothing else. Where the cluster uses a
store that others run, credentials for the account are made there first and given here. ` + storeKeysHelp,
		Example: `  batchyard account create acme
  batchyard account create acme --store-endpoint https://s3.example.org --store-bucket acme-batch`,
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := opts.access(f)
			if err != nil {
				return err
			}
			return f.withSession(func(s *session) error {
				account, err := s.accounts.CreateAccount(cmd.Context(), &apiv1.CreateAccountRequest{AccountId: args[0], Store: store})
				if err != nil {
					return err
				}
				return f.show(account, func(w io.Writer) error {
					return writeLine(w, fmt.Sprintf("account %s made, with the bucket %s", account.GetId(), account.GetBucket()))
				})
			})
		},
	}
	opts.add(cmd)
	return cmd
}

func newAccountListCommand(f *factory) *cobra.Command {
	var quiet bool
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List accounts",
		Example: "  batchyard account list",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.withSession(func(s *session) error {
				all, err := s.accounts.ListAccounts(cmd.Context(), &apiv1.ListAccountsRequest{})
				if err != nil {
					return err
				}
				return list(f, all.GetAccounts(), ifQuiet(quiet, (*apiv1.Account).GetId), render.NewTable("ID", "BUCKET", "CREATED"), func(a *apiv1.Account) []string {
					return []string{a.GetId(), a.GetBucket(), f.ago(a.GetCreationTime())}
				})
			})
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print ids only")
	return cmd
}

func newAccountDeleteCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:     "delete ACCOUNT",
		Aliases: []string{"rm"},
		Short:   "Delete an account without pools and jobs; its bucket and objects stay",
		Long: `Delete an account that has no pools, jobs and job schedules any more. Its keys, its tokens and its credentials in the cluster's own
object store end at once. Its bucket stays with all objects; an account that is made later under the same id gets another bucket.`,
		Example: "  batchyard account delete acme",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error {
				if _, err := s.accounts.DeleteAccount(cmd.Context(), &apiv1.DeleteAccountRequest{AccountId: args[0]}); err != nil {
					return err
				}
				return f.say("account %s deleted", render.Plain(args[0]))
			})
		},
	}
}

func (f *factory) showKeys(keys *apiv1.AccountKeys) error {
	return f.show(keys, func(w io.Writer) error {
		return render.Fields(w, "Account", keys.GetAccountId(), "Endpoint", keys.GetEndpoint(), "Primary", keys.GetPrimary(), "Secondary", keys.GetSecondary())
	})
}

func newAccountKeysCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:     "keys [ACCOUNT]",
		Short:   "Show the two keys with which requests may be signed",
		Example: "  batchyard account keys acme",
		Args:    between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error {
				keys, err := s.accounts.GetAccountKeys(cmd.Context(), &apiv1.GetAccountKeysRequest{AccountId: s.account(args)})
				if err != nil {
					return err
				}
				return f.showKeys(keys)
			})
		},
	}
}

func newAccountRegenerateCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:   "regenerate ACCOUNT primary|secondary|store",
		Short: "Make a key anew; the old one ends at once",
		Long: `Make one of an account's two keys anew, or the secret key of its bucket. The old one ends at once. Programs move to the other key
first, so that they go on; nodes are told of a new secret by themselves, and no task fails for it.`,
		Example:   "  batchyard account regenerate acme primary",
		Args:      exactly(2),
		ValidArgs: []string{"primary", "secondary", "store"},
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error { return runAccountRegenerate(cmd.Context(), f, s, args[0], args[1]) })
		},
	}
}

func runAccountRegenerate(ctx context.Context, f *factory, s *session, id, which string) error {
	key := map[string]apiv1.AccountKeyName{
		"primary": apiv1.AccountKeyName_ACCOUNT_KEY_NAME_PRIMARY, "secondary": apiv1.AccountKeyName_ACCOUNT_KEY_NAME_SECONDARY,
	}[which]
	switch {
	case which == "store":
		access, err := s.accounts.RegenerateStoreKey(ctx, &apiv1.RegenerateStoreKeyRequest{AccountId: id})
		if err != nil {
			return err
		}
		return f.show(access, func(w io.Writer) error {
			return render.Fields(w, "Account", id, "Endpoint", access.GetEndpoint(), "Bucket", access.GetBucket(),
				"Access key", access.GetAccessKey(), "Secret key", access.GetSecretKey())
		})
	case key == apiv1.AccountKeyName_ACCOUNT_KEY_NAME_UNSPECIFIED:
		return usagef("no key %q: primary, secondary or store", which)
	}
	keys, err := s.accounts.RegenerateAccountKey(ctx, &apiv1.RegenerateAccountKeyRequest{AccountId: id, Key: key})
	if err != nil {
		return err
	}
	return f.showKeys(keys)
}

func newAccountSetStoreCommand(f *factory) *cobra.Command {
	opts := &storeFlags{}
	cmd := &cobra.Command{
		Use:   "set-store ACCOUNT",
		Short: "Give an account another place for its objects, or other credentials for it",
		Long: `Give an account a store of its own, or other credentials. Objects are not moved. Nodes are told by themselves.

` + storeKeysHelp,
		Example: "  batchyard account set-store acme --store-endpoint https://s3.example.org --store-bucket acme-batch",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := opts.access(f)
			if err != nil {
				return err
			}
			if store == nil {
				return usagef("no credentials: set %s and %s", envStoreAccessKey, envStoreSecretKey)
			}
			return f.withSession(func(s *session) error {
				if _, err := s.accounts.SetStore(cmd.Context(), &apiv1.SetStoreRequest{AccountId: args[0], Store: store}); err != nil {
					return err
				}
				return f.say("account %s has another store", render.Plain(args[0]))
			})
		},
	}
	opts.add(cmd)
	return cmd
}

func newAccountTokenCommand(f *factory) *cobra.Command {
	role, ttl := "user", durationFlag{value: 24 * time.Hour}
	cmd := &cobra.Command{
		Use:   "token [ACCOUNT]",
		Short: "Make a token for an account",
		Long: `Make a bearer token with which a person or program uses one account, over REST and gRPC: as user, as reader who changes nothing, or as
admin of the whole cluster.`,
		Example: "  batchyard account token acme --role reader --ttl 8h\n  BATCHYARD_TOKEN=$(batchyard account token acme) batchyard job list",
		Args:    between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, ok := apiv1.TokenRole_value["TOKEN_ROLE_"+strings.ToUpper(role)]
			if !ok || kind == 0 {
				return usagef("no role %q: user, reader or admin", role)
			}
			return f.withSession(func(s *session) error {
				token, err := s.accounts.IssueToken(cmd.Context(), &apiv1.IssueTokenRequest{
					AccountId: s.account(args), Role: apiv1.TokenRole(kind), Ttl: durationpb.New(ttl.value),
				})
				if err != nil {
					return err
				}
				return f.show(token, func(w io.Writer) error { return writeLine(w, token.GetToken()) })
			})
		},
	}
	cmd.Flags().StringVar(&role, "role", role, "user, reader or admin")
	cmd.Flags().Var(&ttl, "ttl", "how long the token holds (default 24h)")
	return cmd
}
