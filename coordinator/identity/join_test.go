package identity

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/trust"
)

func TestJoinTokens(t *testing.T) {
	a := newAuthority(t)
	token, record, err := a.NewJoinToken(trust.JoinNode)
	require.NoError(t, err)
	record.Expires, record.MaxUses = start.Add(time.Hour), 2
	presented, err := trust.ParseJoinToken(token.Text())
	require.NoError(t, err)
	require.Equal(t, a.keyring.Pin(), presented.Pin)
	require.NoError(t, VerifyJoin(record, presented, trust.JoinNode, start))
	require.NotContains(t, fmt.Sprintf("%v %x", record, record), fmt.Sprintf("%x", token.Secret.Reveal()))

	other, otherRecord, err := a.NewJoinToken(trust.JoinNode)
	require.NoError(t, err)
	otherRecord.Expires = record.Expires
	stolenID := other
	stolenID.ID = token.ID
	asCoordinator := presented
	asCoordinator.Kind = trust.JoinCoordinator
	used := record
	used.Uses = 2
	once := record
	once.Uses = 1
	unlimited := record
	unlimited.MaxUses, unlimited.Uses = 0, 1000
	for name, c := range map[string]struct {
		record    JoinRecord
		presented trust.JoinToken
		kind      trust.JoinKind
		now       time.Time
		want      error
	}{
		"another token":         {record, other, trust.JoinNode, start, ErrJoinUnknown},
		"another token's id":    {record, stolenID, trust.JoinNode, start, ErrJoinUnknown},
		"no secret":             {record, trust.JoinToken{Kind: trust.JoinNode, ID: token.ID}, trust.JoinNode, start, ErrJoinUnknown},
		"empty record":          {JoinRecord{}, trust.JoinToken{}, trust.JoinNode, start, ErrJoinUnknown},
		"used as coordinator":   {record, presented, trust.JoinCoordinator, start, ErrJoinUnknown},
		"says it is another":    {record, asCoordinator, trust.JoinCoordinator, start, ErrJoinUnknown},
		"at its end":            {record, presented, trust.JoinNode, record.Expires, ErrJoinExpired},
		"used up":               {used, presented, trust.JoinNode, start, ErrJoinUsed},
		"last use":              {once, presented, trust.JoinNode, start, nil},
		"without limit of uses": {unlimited, presented, trust.JoinNode, start, nil},
		"the other's own":       {otherRecord, other, trust.JoinNode, start, nil},
	} {
		err := VerifyJoin(c.record, c.presented, c.kind, c.now)
		if c.want == nil {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorIs(t, err, c.want, name)
		require.True(t, batcherr.HasKind(err, batcherr.KindUnauthenticated))
		require.Equal(t, batcherr.From(RefuseJoin(errors.New("x"))).Values, batcherr.From(err).Values, "callers cannot tell why")
	}
}
