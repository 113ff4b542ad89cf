package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/client"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func newAccountCommand(f *factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "account",
		Short:   "Accounts: the tenants that pools, jobs and applications belong to",
		Example: "  batchyard account create acme\n  batchyard account keys acme\n  eval \"$(batchyard account env)\"",
	}
	cmd.AddCommand(
		newAccountCreateCommand(f), newAccountListCommand(f), newAccountShowCommand(f), newAccountDeleteCommand(f),
		newAccountKeysCommand(f), newAccountRegenerateCommand(f), newAccountSetStoreCommand(f), newAccountTokenCommand(f), newAccountEnvCommand(f),
	)
	return cmd
}

func newAccountShowCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:     "show [ACCOUNT]",
		Short:   "Show an account",
		Example: "  batchyard account show",
		Args:    between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error {
				account, err := s.accounts.GetAccount(cmd.Context(), &apiv1.GetAccountRequest{AccountId: s.account(args)})
				if err != nil {
					return err
				}
				return f.show(account, func(w io.Writer) error {
					return render.Fields(w, "ID", account.GetId(), "Bucket", account.GetBucket(),
						"REST API", s.context.HTTPS, "gRPC", strings.Join(s.context.Addresses, ", "), "Created", f.moment(account.GetCreationTime()))
				})
			})
		},
	}
}

// account is the account that is named, or the context's.
func (s *session) account(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return s.context.Account
}

func newAccountEnvCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:   "env [ACCOUNT]",
		Short: "Print the variables with which other programs use the account",
		Long: `Print shell commands that set what other programs need: the Azure CLI and SDKs (AZURE_BATCH_*), S3 clients (AWS_*), and this
one (BATCHYARD_*). They are secrets: the account's key, the keys of its store, and a token. Certificates go into files beside the context file.`,
		Example: "  eval \"$(batchyard account env)\"\n  az batch job list",
		Args:    between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error { return runAccountEnv(cmd.Context(), f, s, s.account(args)) })
		},
	}
}

func runAccountEnv(ctx context.Context, f *factory, s *session, id string) error {
	keys, err := s.accounts.GetAccountKeys(ctx, &apiv1.GetAccountKeysRequest{AccountId: id})
	if err != nil {
		return err
	}
	store, err := s.accounts.GetStore(ctx, &apiv1.GetStoreRequest{AccountId: id})
	if err != nil && !batcherr.HasCode(batcherr.FromGRPC(err), batcherr.CodeStorageAccountNotFound) {
		return err
	}
	caFile, err := f.authorityFile(s.context.Name, "cluster", []byte(s.context.CA))
	if err != nil {
		return err
	}
	storeCA, err := f.authorityFile(s.context.Name, "store", store.GetCaPem())
	if err != nil {
		return err
	}
	variables := []string{
		"AZURE_BATCH_ACCOUNT", keys.GetAccountId(),
		"AZURE_BATCH_ACCESS_KEY", keys.GetPrimary(),
		"AZURE_BATCH_ENDPOINT", keys.GetEndpoint(),
		"AWS_ENDPOINT_URL_S3", store.GetEndpoint(),
		"AWS_ACCESS_KEY_ID", store.GetAccessKey(),
		"AWS_SECRET_ACCESS_KEY", store.GetSecretKey(),
		"AWS_SESSION_TOKEN", store.GetSessionToken(),
		"AWS_REGION", store.GetRegion(),
		"AWS_DEFAULT_REGION", store.GetRegion(), // boto3 reads only this one
		"AWS_CA_BUNDLE", storeCA,
		"BATCHYARD_BUCKET", store.GetBucket(),
		client.EnvAddress, strings.Join(s.context.Addresses, ","),
		client.EnvToken, s.context.Token,
		client.EnvCA, caFile,
	}
	for i := 0; i+1 < len(variables); i += 2 {
		if variables[i+1] == "" {
			continue
		}
		if _, err := fmt.Fprintf(f.out, "export %s=%s\n", variables[i], quoteArgument(render.Plain(variables[i+1]))); err != nil {
			return err
		}
	}
	return nil
}

// authorityFile keeps certificates in a file beside the context file, for programs that read them from one; "" where there are none.
func (f *factory) authorityFile(contextName, what string, pem []byte) (string, error) {
	if len(pem) == 0 {
		return "", nil
	}
	path, err := client.ContextPath(f.getenv)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(contextName))
	name := filepath.Join(filepath.Dir(path), fmt.Sprintf("%s-authority-%x.pem", what, sum[:4]))
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return "", err
	}
	return name, os.WriteFile(name, pem, 0o600)
}
