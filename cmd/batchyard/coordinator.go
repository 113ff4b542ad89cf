package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/coordinator"
	"github.com/batchyard/batchyard/coordinator/identity"
	"github.com/batchyard/batchyard/internal/client"
	"github.com/batchyard/batchyard/internal/trust"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

type coordinatorOptions struct {
	f          *factory
	cfg        coordinator.Config
	bootstrap  bool
	account    string
	storeCA    string
	verbose    bool
	joinFile   string
	oidc       identity.OIDCConfig
	oidcGrants []string
	election   time.Duration
	reserve    int64 // MiB
}

// Environment variables with the object store's credentials; in arguments any user could read them.
const (
	envStoreAccessKey = "BATCHYARD_STORE_ACCESS_KEY"
	envStoreSecretKey = "BATCHYARD_STORE_SECRET_KEY"
)

func newCoordinatorCommand(f *factory) *cobra.Command {
	o := &coordinatorOptions{f: f, cfg: coordinator.Default()}
	o.cfg.Store = &apiv1.StoreAccess{}
	cmd := &cobra.Command{
		Use:   "coordinator",
		Short: "Run a coordinator",
		Long: `Runs a coordinator: alone, or as one of three or five that stay available while a minority fails.

The first is started with --bootstrap; it makes the cluster, its first account, and a context for its administrator
(admin-context.yaml in the data directory). Others join it with a token of ` + "`batchyard cluster token --coordinator`" + `.
Started again, a coordinator needs neither.

The accounts' objects are in an S3-compatible store; its credentials are read from
` + envStoreAccessKey + ` and ` + envStoreSecretKey + `.`,
		Example: `  batchyard coordinator --bootstrap --data-dir /var/lib/batchyard --store-endpoint https://s3.example.org
  batchyard coordinator join head1.example.org:7444 --join-token-file token --data-dir /var/lib/batchyard --store-endpoint https://s3.example.org`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&o.bootstrap, "bootstrap", false, "make a new cluster in an empty data directory")
	cmd.Flags().StringVar(&o.account, "account", "default", "account to make with --bootstrap")

	join := &coordinatorOptions{f: f, cfg: coordinator.Default()}
	join.cfg.Store = &apiv1.StoreAccess{}
	joinCmd := &cobra.Command{
		Use:     "join ADDRESS",
		Short:   "Run a coordinator that joins a cluster at its first start",
		Example: `  batchyard coordinator join head1.example.org:7444 --join-token-file token --data-dir /var/lib/batchyard --store-endpoint https://s3.example.org`,
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			join.cfg.Join.Address = args[0]
			return join.run(cmd.Context())
		},
	}
	join.flags(joinCmd)
	joinCmd.Flags().StringVar(&join.joinFile, "join-token-file", "", "file with a join token for coordinators")
	cmd.AddCommand(joinCmd)
	return cmd
}

func (o *coordinatorOptions) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.cfg.DataDir, "data-dir", "/var/lib/batchyard", "directory that holds secrets, log and state")
	flags.Int64Var(&o.reserve, "disk-reserve", o.cfg.DiskReserve>>20, "MiB of this disk that stay free: with fewer left, nothing can be added")
	flags.StringVar(&o.cfg.ListenGRPC, "listen-grpc", o.cfg.ListenGRPC, "address of gRPC, for users and agents")
	flags.StringVar(&o.cfg.ListenHTTPS, "listen-https", o.cfg.ListenHTTPS, "address of HTTPS, for REST")
	flags.StringVar(&o.cfg.ListenRaft, "listen-raft", o.cfg.ListenRaft, "address of Raft, for the other coordinators")
	flags.StringVar(&o.cfg.WebCertFile, "tls-cert", "", "PEM file with the certificate of HTTPS (default one of the cluster's authority)")
	flags.StringVar(&o.cfg.WebKeyFile, "tls-key", "", "PEM file with its key")
	flags.StringVar(&o.oidc.Issuer, "oidc-issuer", "", "URL of an OpenID issuer whose tokens are accepted")
	flags.StringVar(&o.oidc.Audience, "oidc-audience", "batchyard", "audience that the issuer's tokens must have")
	flags.StringArrayVar(&o.oidcGrants, "oidc-grant", nil, "what the issuer's tokens give: CLAIM=VALUE:ACCOUNT/ROLE, with the role admin, user or reader; may be repeated")
	flags.StringVar(&o.cfg.Host, "host", "", "name or address at which others reach this machine (default its name)")
	flags.StringVar(&o.cfg.ID, "id", "", "name of this member at its first start (default made of the machine's name)")
	flags.DurationVar(&o.cfg.Lease, "lease", o.cfg.Lease, "how long a node's tasks go on without a coordinator")
	flags.DurationVar(&o.cfg.Grace, "grace", o.cfg.Grace, "how much longer a node is waited for before its tasks run elsewhere")
	flags.DurationVar(&o.cfg.Heartbeat, "heartbeat", o.cfg.Heartbeat, "how often nodes say that they are there")
	flags.IntVar(&o.cfg.Quarantine.Failures, "quarantine-failures", o.cfg.Quarantine.Failures,
		"how many attempts of several jobs have to fail on a node one after the other before it is given no more tasks; 0: never mind")
	flags.DurationVar(&o.cfg.Quarantine.Window, "quarantine-window", o.cfg.Quarantine.Window, "how long such a failure counts")
	flags.Float64Var(&o.cfg.Quarantine.Share, "quarantine-share", o.cfg.Quarantine.Share, "how much of a pool may be out of service for that, one node at least")
	flags.DurationVar(&o.election, "election-timeout", o.cfg.Raft.Heartbeat, "how long the other coordinators hear nothing of their leader before they elect another")
	flags.StringVar(&o.cfg.Store.Endpoint, "store-endpoint", "", "URL of the S3-compatible store")
	flags.StringVar(&o.cfg.Store.Region, "store-region", "us-east-1", "region of the store")
	flags.StringVar(&o.storeCA, "store-ca", "", "PEM file with the store's authority (default the system's)")
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "log everything")
}

func (o *coordinatorOptions) run(ctx context.Context) error {
	if err := o.complete(); err != nil {
		return err
	}
	if o.bootstrap {
		o.cfg.OnReady = func(c *coordinator.Coordinator) {
			if err := o.begin(ctx, c); err != nil {
				printError(o.f.errOut, err)
			}
		}
	}
	return coordinator.Run(ctx, o.cfg)
}

func (o *coordinatorOptions) complete() error {
	var err error
	if o.cfg.DataDir, err = filepath.Abs(o.cfg.DataDir); err != nil {
		return err
	}
	_, missing := os.Stat(filepath.Join(o.cfg.DataDir, "member.json"))
	fresh := os.IsNotExist(missing)
	switch {
	case fresh && !o.bootstrap && o.cfg.Join.Address == "":
		return usagef("%s holds no coordinator: make a cluster with --bootstrap, or join one with `batchyard coordinator join`", o.cfg.DataDir)
	case !fresh && o.bootstrap:
		return usagef("%s holds a coordinator already: start it without --bootstrap", o.cfg.DataDir)
	case !fresh:
		o.cfg.Join = coordinator.Join{}
	case o.joinFile != "":
		text, err := os.ReadFile(o.joinFile)
		if err != nil {
			return usagef("the join token can't be read: %v", err)
		}
		o.cfg.Join.Token = trimToken(text)
	}
	if o.cfg.Store.Endpoint == "" {
		return usagef("no object store: name one with --store-endpoint")
	}
	o.cfg.Store.AccessKey, o.cfg.Store.SecretKey = o.f.getenv(envStoreAccessKey), o.f.getenv(envStoreSecretKey)
	if o.storeCA != "" {
		if o.cfg.Store.CaPem, err = os.ReadFile(o.storeCA); err != nil {
			return usagef("the store's authority can't be read: %v", err)
		}
	}
	if o.election < minElection {
		return usagef("the election timeout must be at least %s", minElection)
	}
	if o.reserve < 0 || o.reserve > maxReserve {
		return usagef("the disk reserve must be between 0 and %d MiB", maxReserve)
	}
	o.cfg.DiskReserve = o.reserve << 20
	o.cfg.Raft.Heartbeat, o.cfg.Raft.Election, o.cfg.Raft.Lease = o.election, o.election, o.election*3/4
	o.cfg.Logger = newLogger(o.f, o.verbose)
	return o.completeOIDC()
}

func (o *coordinatorOptions) completeOIDC() error {
	if o.oidc.Issuer == "" {
		if len(o.oidcGrants) > 0 {
			return usagef("grants need an issuer: name one with --oidc-issuer")
		}
		return nil
	}
	for _, text := range o.oidcGrants {
		grant, err := identity.ParseOIDCGrant(text)
		if err != nil {
			return usage(err)
		}
		o.oidc.Grants = append(o.oidc.Grants, grant)
	}
	o.cfg.OIDC = &o.oidc
	if err := o.oidc.Validate(); err != nil {
		return usage(err)
	}
	return nil
}

// maxReserve, in MiB, is larger than any disk for a log.
const maxReserve = 1 << 20

// minElection keeps the pauses that every machine has from costing elections all the time.
const minElection = 100 * time.Millisecond

// begin makes a new cluster's first account and writes the administrator's context.
func (o *coordinatorOptions) begin(ctx context.Context, c *coordinator.Coordinator) error {
	if err := c.EnsureAccount(ctx, o.account); err != nil {
		return fmt.Errorf("make account %s: %w", o.account, err)
	}
	token, err := c.AdminToken(ctx, o.account, 365*24*time.Hour)
	if err != nil {
		return err
	}
	path := filepath.Join(o.cfg.DataDir, "admin-context.yaml")
	err = client.SaveContext(path, client.Context{
		Name: "admin", Addresses: []string{c.GRPCAddress()}, CA: string(trust.EncodeAuthority(c.Authority())),
		Account: o.account, Token: token, HTTPS: c.RESTEndpoint(),
	}, true)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.f.out, "The cluster is ready at %s. Its administrator's context: %s=%s\n", c.GRPCAddress(), client.EnvConfig, path)
	return err
}
