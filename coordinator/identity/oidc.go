package identity

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/batchyard/batchyard/internal/batcherr"
)

// OIDCConfig says which tokens of another issuer are accepted, and for what.
type OIDCConfig struct {
	// Issuer is the issuer's URL, whose discovery document names its keys; https, or http on loopback.
	Issuer string
	// Audience is what a token has to be made out for.
	Audience string
	// Grants say what tokens give; the first that fits counts. A token that none fits gives nothing.
	Grants []OIDCGrant
	// HTTP reaches the issuer; nil: the default client.
	HTTP *http.Client
}

// OIDCGrant gives access to an account to tokens of which a claim is, or is a list that has, a value.
type OIDCGrant struct {
	Claim, Value string
	Account      string
	Access       Access // admin, user or reader
}

// ParseOIDCGrant reads CLAIM=VALUE:ACCOUNT/ROLE.
func ParseOIDCGrant(text string) (OIDCGrant, error) {
	claim, rest, ok1 := strings.Cut(text, "=")
	at := strings.LastIndex(rest, ":")
	account, role, ok2 := strings.Cut(rest[max(at, 0):], "/")
	g := OIDCGrant{Claim: claim, Value: rest[:max(at, 0)], Account: strings.TrimPrefix(account, ":"), Access: Access(role)}
	if !ok1 || !ok2 || at < 0 {
		return OIDCGrant{}, fmt.Errorf("%q is not CLAIM=VALUE:ACCOUNT/ROLE", text)
	}
	return g, g.validate()
}

func (g OIDCGrant) validate() error {
	switch {
	case g.Claim == "" || g.Value == "" || g.Account == "":
		return errors.New("a grant needs a claim, a value and an account")
	case g.Access != AccessAdmin && g.Access != AccessUser && g.Access != AccessReader:
		return fmt.Errorf("a grant's role is admin, user or reader, not %q", g.Access)
	}
	return nil
}

// Validate reports everything that is wrong with c.
func (c OIDCConfig) Validate() error {
	var errs []error
	u, err := url.Parse(c.Issuer)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		errs = append(errs, fmt.Errorf("the issuer %q is not a URL", c.Issuer))
	} else if ip := net.ParseIP(u.Hostname()); u.Scheme != "https" && (u.Scheme != "http" || ip == nil || !ip.IsLoopback()) {
		errs = append(errs, fmt.Errorf("the issuer %q has to be reached over https", c.Issuer))
	}
	if c.Audience == "" {
		errs = append(errs, errors.New("an issuer's tokens need an audience"))
	}
	if len(c.Grants) == 0 {
		errs = append(errs, errors.New("an issuer's tokens give nothing without a grant"))
	}
	for _, g := range c.Grants {
		errs = append(errs, g.validate())
	}
	return errors.Join(errs...)
}

// oidcAlgorithms are those of asymmetric keys that issuers use. A token says which one, but not whether it is one of these.
func oidcAlgorithms() []string { return []string{oidc.RS256, oidc.ES256, oidc.EdDSA, oidc.PS256} }

const (
	oidcTimeout   = 10 * time.Second
	oidcQuiet     = 5 * time.Second // between two questions to the issuer: a stranger's tokens must not make us ask it at their pace
	maxOIDCAnswer = 1 << 20         // bytes
)

// OIDC verifies the tokens of another issuer. Its keys are fetched when they are first needed, kept, and fetched again when a token names one that
// is not known. It is safe for concurrent use.
type OIDC struct {
	config OIDCConfig
	now    func() time.Time
	client *http.Client

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier
}

// NewOIDC checks the configuration. It does not connect.
func NewOIDC(config OIDCConfig, now func() time.Time) (*OIDC, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	client := http.Client{Timeout: oidcTimeout}
	if config.HTTP != nil {
		client = *config.HTTP
	}
	base := client.Transport
	if base == nil {
		base = http.DefaultTransport
	}
	client.Transport = &paced{base: base, last: map[string]time.Time{}, now: now}
	return &OIDC{config: config, now: now, client: &client}, nil
}

// paced refuses to ask for one address more often than once in oidcQuiet.
type paced struct {
	base http.RoundTripper
	now  func() time.Time

	mu   sync.Mutex
	last map[string]time.Time
}

var errPaced = errors.New("the issuer was asked a moment ago")

// RoundTrip implements http.RoundTripper.
func (p *paced) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	last, asked := p.last[r.URL.String()]
	now := p.now()
	if asked && now.Sub(last) < oidcQuiet {
		p.mu.Unlock()
		return nil, errPaced
	}
	p.last[r.URL.String()] = now
	p.mu.Unlock()
	resp, err := p.base.RoundTrip(r)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, maxOIDCAnswer)
	}
	return resp, err
}

// issuer finds out where the issuer's keys are.
func (o *OIDC) issuer(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.verifier != nil {
		return o.verifier, nil
	}
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, o.client), o.config.Issuer)
	if err != nil {
		return nil, err
	}
	// The keys outlive the call that was the first to need them.
	o.verifier = provider.VerifierContext(oidc.ClientContext(context.WithoutCancel(ctx), o.client), &oidc.Config{
		ClientID: o.config.Audience, SupportedSigningAlgs: oidcAlgorithms(), Now: o.now,
	})
	return o.verifier, nil
}

// Verify reads a token of the issuer that is made out for us and has not expired, and returns what it gives: of the account that is named, or by the
// first grant that fits where account is empty. The error is batcherr.KindUnauthenticated, KindForbidden where no grant fits, or KindUnavailable
// where the issuer does not answer.
func (o *OIDC) Verify(ctx context.Context, text, account string) (Claims, error) {
	if len(text) > maxOIDCToken {
		return Claims{}, refuseToken(ErrTokenInvalid)
	}
	ctx, cancel := context.WithTimeout(ctx, oidcTimeout)
	defer cancel()
	verifier, err := o.issuer(ctx)
	if err != nil {
		return Claims{}, batcherr.Unavailable("The issuer of tokens does not answer.").Wrap(err)
	}
	token, err := verifier.Verify(ctx, text)
	var expired *oidc.TokenExpiredError
	if errors.As(err, &expired) {
		return Claims{}, refuseToken(ErrTokenExpired)
	}
	if err != nil {
		return Claims{}, refuseToken(fmt.Errorf("%w: %w", ErrTokenInvalid, err))
	}
	values := map[string]any{}
	if err := token.Claims(&values); err != nil || token.Subject == "" || token.IssuedAt.After(o.now().Add(maxClockLead)) {
		return Claims{}, refuseToken(ErrTokenInvalid)
	}
	for _, g := range o.config.Grants {
		if g.fits(values[g.Claim]) && (account == "" || account == g.Account || g.Access == AccessAdmin) {
			return Claims{
				Subject: token.Subject, Account: g.Account, Access: g.Access, IssuedAt: token.IssuedAt.UTC(), Expires: token.Expiry.UTC(),
			}, nil
		}
	}
	return Claims{}, batcherr.Forbidden("The token gives no access here.")
}

// maxOIDCToken is generous: issuers put groups into tokens.
const maxOIDCToken = 16 << 10

// fits compares a claim, which may be a text or a list of texts.
func (g OIDCGrant) fits(claim any) bool {
	switch v := claim.(type) {
	case string:
		return v == g.Value
	case []any:
		for _, one := range v {
			if one == g.Value {
				return true
			}
		}
	}
	return false
}
