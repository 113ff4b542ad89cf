package batcherr

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestErrorsAreCopiedNotChanged(t *testing.T) {
	base := Of(CodeJobNotFound)
	one := base.With("a", "1")
	two := one.With("b", "2")
	other := one.With("c", "3")
	require.Empty(t, base.Values)
	require.Equal(t, []Value{{"a", "1"}, {"b", "2"}}, two.Values)
	require.Equal(t, []Value{{"a", "1"}, {"c", "3"}}, other.Values)
	require.NoError(t, base.Wrap(io.EOF).With("x", "y").Wrap(nil).Unwrap())
	require.NoError(t, base.Unwrap())
}

func TestChain(t *testing.T) {
	err := fmt.Errorf("reading: %w", Of(CodeJobNotFound).Wrap(io.EOF))
	require.ErrorIs(t, err, io.EOF)
	require.ErrorIs(t, err, Of(CodeJobNotFound))
	require.NotErrorIs(t, err, Of(CodePoolNotFound))
	require.True(t, HasCode(err, CodePoolNotFound, CodeJobNotFound))
	require.False(t, HasCode(io.EOF, CodeJobNotFound))
	require.True(t, HasKind(err, KindNotFound))
	require.EqualError(t, err, "reading: JobNotFound: The specified job does not exist.: EOF")

	require.Nil(t, From(nil))
	require.Equal(t, CodeJobNotFound, From(err).Code)
	require.Equal(t, KindTimeout, From(fmt.Errorf("x: %w", context.DeadlineExceeded)).Kind)
	require.Equal(t, KindCanceled, From(context.Canceled).Kind)
	hidden := From(errors.New("disk /secret/path failed"))
	require.Equal(t, KindInternal, hidden.Kind)
	require.NotContains(t, hidden.Message, "secret")
	require.NotContains(t, hidden.GRPCStatus().String(), "secret")
}

func TestTextsAreBoundedAndUTF8(t *testing.T) {
	e := New(KindInvalid, "X", "%s", strings.Repeat("é", MaxMessage)).With("k\xff", strings.Repeat("é", MaxValue)+"\xff")
	require.LessOrEqual(t, len(e.Message), MaxMessage)
	require.LessOrEqual(t, len(e.Values[0].Value), MaxValue)
	require.True(t, utf8.ValidString(e.Message) && utf8.ValidString(e.Values[0].Key) && utf8.ValidString(e.Values[0].Value))
	require.Len(t, e.GRPCStatus().Details(), 2)
}

func TestInvalidPropertyCarriesThreeValuesInOrder(t *testing.T) {
	e := InvalidProperty("taskSlotsPerNode", "-1", "must be positive")
	require.Equal(t, CodeInvalidPropertyValue, e.Code)
	require.Equal(t, []Value{{"PropertyName", "taskSlotsPerNode"}, {"PropertyValue", "-1"}, {"Reason", "must be positive"}}, e.Values)
	reason, ok := e.Value("Reason")
	require.True(t, ok)
	require.Equal(t, "must be positive", reason)
}

func TestRoundTripOverGRPC(t *testing.T) {
	for kind := range kindCount {
		sent := New(kind, "Some"+kind.String(), "message of %s", kind).With("Zebra", "1").With("Ant", "").With("Zebra", "2")
		// What a client holds is an error made of the status alone.
		err := status.FromProto(status.Convert(sent.Wrap(io.EOF)).Proto()).Err()
		require.Equal(t, sent, FromGRPC(fmt.Errorf("call: %w", err)))
	}
	plain := Of(CodeJobNotFound)
	require.Equal(t, plain, FromGRPC(status.Convert(plain).Err()))
	require.Nil(t, FromGRPC(nil))
}

func TestForeignStatuses(t *testing.T) {
	for code, kind := range map[codes.Code]Kind{
		codes.Unavailable: KindUnavailable, codes.DeadlineExceeded: KindTimeout, codes.Canceled: KindCanceled,
		codes.Unknown: KindInternal, codes.Unimplemented: KindNotImplemented, codes.NotFound: KindNotFound,
		codes.AlreadyExists: KindConflict, codes.Unauthenticated: KindUnauthenticated, codes.PermissionDenied: KindForbidden,
		codes.ResourceExhausted: KindTooMany, codes.Aborted: KindPrecondition, codes.OutOfRange: KindRangeNotSatisfiable,
		codes.InvalidArgument: KindInvalid, codes.DataLoss: KindInternal,
	} {
		err := status.Error(code, "connection refused")
		got := FromGRPC(err)
		require.Equal(t, kind, got.Kind, code)
		require.NotEmpty(t, got.Code)
		require.Equal(t, "connection refused", got.Message)
		require.ErrorIs(t, got, err)
	}
	require.Equal(t, KindInternal, FromGRPC(io.EOF).Kind)
	require.Equal(t, KindTimeout, FromGRPC(context.DeadlineExceeded).Kind)
}

func TestHTTPStatusByCode(t *testing.T) {
	for code, want := range map[string]int{
		CodeInvalidPropertyValue: 400, CodeMissingRequiredHeader: 400, CodeAutoScalingFormulaSyntaxError: 400,
		CodeAuthenticationFailed: 403, CodeInsufficientAccountPermissions: 403, CodeJobNotFound: 404, CodeUnsupportedHttpVerb: 405,
		CodeJobExists: 409, CodeTaskCompleted: 409, CodeMissingContentLengthHeader: 411, CodeConditionNotMet: 412,
		CodeRequestBodyTooLarge: 413, CodeInvalidRange: 416, CodeTooManyRequests: 429, CodeInternalError: 500,
		CodeOperationTimedOut: 500, CodeNotImplemented: 501, CodeServerBusy: 503, CodeUnsupportedHttpVersion: 505,
		"NoSuchCode": 500,
	} {
		require.Equal(t, want, Of(code).HTTPStatus(), code)
	}
	require.Equal(t, http.StatusNotModified, NotModified().HTTPStatus())
	require.Equal(t, http.StatusConflict, New(KindUnavailable, CodeNodeStateUnusable, "away").HTTPStatus())
	require.Equal(t, http.StatusConflict, New(KindUnavailable, CodeTaskFilesUnavailable, "away").HTTPStatus())
	require.Equal(t, http.StatusServiceUnavailable, Unavailable("no leader").HTTPStatus())
	require.Equal(t, http.StatusUnauthorized, Unauthenticated("expired").HTTPStatus())
	require.Equal(t, http.StatusForbidden, BadSignature("differs").HTTPStatus())
}

func TestExitCode(t *testing.T) {
	for want, err := range map[int]error{
		0: nil, 1: io.EOF, 2: InvalidProperty("a", "b", "c"), 3: Of(CodePoolNotFound), 4: Of(CodePoolExists),
		5: Unauthenticated("x"), 6: status.Error(codes.Unavailable, "refused"), 7: context.DeadlineExceeded,
	} {
		require.Equal(t, want, ExitCode(err))
	}
	require.Equal(t, ExitUnauthorized, ExitCode(Forbidden("no")))
	require.Equal(t, ExitConflict, ExitCode(status.Convert(Of(CodeConditionNotMet)).Err()))
}

func TestLogValueKeepsTheCause(t *testing.T) {
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("refused", "err", Of(CodeIOError).With("Reason", "r").Wrap(io.EOF))
	require.Contains(t, out.String(), "err.code=IOError")
	require.Contains(t, out.String(), "err.Reason=r")
	require.Contains(t, out.String(), "err.cause=EOF")
}

// TestEveryRequestCodeHasAnEntry reads the constants from the source, so that a code added without kind and message fails.
func TestEveryRequestCodeHasAnEntry(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "codes.go", nil, parser.ParseComments)
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, decl := range file.Decls {
		group, ok := decl.(*ast.GenDecl)
		require.True(t, ok)
		doc := group.Doc.Text()
		insideEntity := strings.HasPrefix(doc, "Codes in a ") || strings.HasPrefix(doc, "CodeUnknown ")
		for _, spec := range group.Specs {
			constant := spec.(*ast.ValueSpec)
			name := constant.Names[0].Name
			value := strings.Trim(constant.Values[0].(*ast.BasicLit).Value, `"`)
			require.Equal(t, "Code"+value, name)
			require.False(t, seen[value], "%s twice", value)
			seen[value] = true
			_, known := lookUp(value)
			require.Equal(t, !insideEntity, known, value)
		}
	}
	require.Greater(t, len(seen), 130)
}

func TestCategories(t *testing.T) {
	require.True(t, UserFault(CodeBlobNotFound))
	require.True(t, UserFault(CodeFailureExitCode))
	require.False(t, UserFault(CodeDiskFull))
	require.False(t, UserFault(CodeUnknown))
}

func TestKinds(t *testing.T) {
	for kind := range kindCount {
		back, ok := parseKind(kind.String())
		require.True(t, ok)
		require.Equal(t, kind, back)
	}
	_, ok := parseKind("other")
	require.False(t, ok)
	require.Equal(t, "internal", Kind(200).String())
	require.True(t, KindUnavailable.Temporary())
	require.False(t, KindConflict.Temporary())
}
