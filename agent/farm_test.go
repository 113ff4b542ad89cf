package agent

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/batchyard/batchyard/agent/task"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/trust"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

const testCluster = "0123456789abcdef0123456789abcdef"

// authority signs certificates as a cluster does.
type authority struct {
	cert   *x509.Certificate
	key    crypto.Signer
	serial int64
}

func newAuthority(t testing.TB) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &authority{cert: cert, key: key, serial: 1}
}

func (a *authority) sign(public crypto.PublicKey, id trust.Identity, life time.Duration) ([]byte, error) {
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), NotBefore: time.Now().Add(-time.Second), NotAfter: time.Now().Add(life),
		URIs: []*url.URL{id.URI()}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if id.Role == trust.RoleServer {
		template.DNSNames = []string{trust.ServerName}
	}
	return x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
}

// farm is a fake coordinator with a memory: what it was told to run it assigns in every session until it has ended.
type farm struct {
	agentv1.UnimplementedAgentServiceServer
	t         testing.TB
	authority *authority
	address   string
	life      time.Duration // of nodes' certificates
	lease     time.Duration

	mu       sync.Mutex
	secret   trust.JoinToken
	joined   int
	renewed  int
	job      *agentv1.JobContext
	specs    map[uint32]*apiv1.Task
	tasks    map[task.Ref]*agentv1.Assignment
	reports  map[task.Ref]*agentv1.AttemptReport
	sessions int
	removed  bool
	send     func(*agentv1.CoordinatorMessage) // to the session that is open
	number   uint64
	answers  map[string]*bytes.Buffer
	answered chan string
}

func newFarm(t testing.TB) *farm {
	f := &farm{
		t: t, authority: newAuthority(t), life: 24 * time.Hour, lease: 10 * time.Second,
		job: &agentv1.JobContext{Job: 1, JobId: "job"}, specs: map[uint32]*apiv1.Task{}, tasks: map[task.Ref]*agentv1.Assignment{},
		reports: map[task.Ref]*agentv1.AttemptReport{}, answers: map[string]*bytes.Buffer{}, answered: make(chan string, 16),
	}
	secret := make([]byte, trust.JoinSecretBytes)
	f.secret = trust.JoinToken{
		Kind: trust.JoinNode, ID: "n0123456789abcdef", Secret: trust.NewSecret(secret), Pin: trust.PinOf(f.authority.cert),
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := f.authority.sign(key.Public(), trust.Identity{Cluster: testCluster, Role: trust.RoleServer, Name: "c1"}, time.Hour)
	require.NoError(t, err)
	clients := x509.NewCertPool()
	clients.AddCert(f.authority.cert)
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: clients,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der, f.authority.cert.Raw}, PrivateKey: key}},
	})))
	agentv1.RegisterAgentServiceServer(server, f)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f.address = listener.Addr().String()
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-done)
	})
	return f
}

func (f *farm) Join(_ context.Context, req *agentv1.JoinRequest) (*agentv1.JoinResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if req.GetToken() != f.secret.Text() {
		return nil, batcherr.Unauthenticated("the join token is not known")
	}
	f.joined++
	cert, err := f.certify(req.GetCsr())
	if err != nil {
		return nil, err
	}
	return &agentv1.JoinResponse{
		Certificates: [][]byte{cert, f.authority.cert.Raw}, AccountId: "acme", PoolId: "pool", NodeId: "node1",
		CoordinatorAddresses: []string{f.address},
	}, nil
}

func (f *farm) certify(csr []byte) ([]byte, error) {
	request, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, err
	}
	id := trust.Identity{Cluster: testCluster, Role: trust.RoleNode, Account: "acme", Pool: "pool", Name: "node1", Incarnation: 1}
	return f.authority.sign(request.PublicKey, id, f.life)
}

func (f *farm) Renew(_ context.Context, req *agentv1.RenewRequest) (*agentv1.RenewResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.renewed++
	f.life = 24 * time.Hour
	cert, err := f.certify(req.GetCsr())
	return &agentv1.RenewResponse{Certificates: [][]byte{cert}}, err
}

func (f *farm) Session(stream grpc.BidiStreamingServer[agentv1.AgentMessage, agentv1.CoordinatorMessage]) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	if err := f.open(stream); err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		f.mu.Lock()
		switch body := m.GetMessage().(type) {
		case *agentv1.AgentMessage_Heartbeat:
			err = stream.Send(&agentv1.CoordinatorMessage{Message: &agentv1.CoordinatorMessage_HeartbeatAck{
				HeartbeatAck: &agentv1.HeartbeatAck{Number: body.Heartbeat.GetNumber()},
			}})
		case *agentv1.AgentMessage_Reports:
			for _, report := range body.Reports.GetReports() {
				f.take(report)
			}
			err = stream.Send(&agentv1.CoordinatorMessage{Message: &agentv1.CoordinatorMessage_ReportsCommitted{
				ReportsCommitted: body.Reports.GetBatch(),
			}})
		}
		f.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// open welcomes the agent and sends it the complete set.
func (f *farm) open(stream grpc.BidiStreamingServer[agentv1.AgentMessage, agentv1.CoordinatorMessage]) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.removed {
		return batcherr.Of(batcherr.CodeNodeNotFound)
	}
	f.sessions++
	f.number = 1
	f.send = func(m *agentv1.CoordinatorMessage) { _ = stream.Send(m) } // a stream that has ended shows elsewhere
	f.send(&agentv1.CoordinatorMessage{Message: &agentv1.CoordinatorMessage_Welcome{Welcome: &agentv1.Welcome{
		Session: "s", Lease: durationpb.New(f.lease), HeartbeatInterval: durationpb.New(100 * time.Millisecond), TaskSlots: 8,
		AccountUrl: "https://acme.example", AccountId: "acme", CoordinatorAddresses: []string{f.address},
	}}})
	set := &agentv1.Assignments{Complete: true, Number: f.number, Jobs: []*agentv1.JobContext{f.job}}
	for number, spec := range f.specs {
		set.Specs = append(set.Specs, &agentv1.TaskSpec{Job: 1, Spec: number, Task: spec})
	}
	for ref, assignment := range f.tasks {
		if f.reports[ref].GetPhase() <= agentv1.AttemptPhase_ATTEMPT_PHASE_RUNNING {
			set.Add = append(set.Add, assignment)
		}
	}
	f.send(&agentv1.CoordinatorMessage{Message: &agentv1.CoordinatorMessage_Assignments{Assignments: set}})
	return nil
}

// take keeps the first end that is reported of an attempt.
func (f *farm) take(report *agentv1.AttemptReport) {
	ref := task.RefOf(report.GetRef())
	if f.reports[ref].GetPhase() <= agentv1.AttemptPhase_ATTEMPT_PHASE_RUNNING {
		f.reports[ref] = report
	}
}

func (f *farm) Transfer(stream grpc.ClientStreamingServer[agentv1.TransferChunk, agentv1.TransferDone]) error {
	id := ""
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			f.answered <- id
			return stream.SendAndClose(&agentv1.TransferDone{})
		}
		if err != nil {
			return err
		}
		if chunk.GetId() != "" {
			id = chunk.GetId()
		}
		f.mu.Lock()
		if f.answers[id] == nil {
			f.answers[id] = &bytes.Buffer{}
		}
		f.answers[id].Write(chunk.GetData())
		f.answers[id].WriteString(chunk.GetError().GetCode())
		f.mu.Unlock()
	}
}

// add has the node run a task of its own spec.
func (f *farm) add(number uint64, spec *apiv1.Task) task.Ref {
	f.mu.Lock()
	defer f.mu.Unlock()
	ref := task.Ref{Job: 1, Task: number, Attempt: 1}
	f.specs[uint32(number)] = spec
	f.tasks[ref] = &agentv1.Assignment{Ref: ref.Message(), Spec: uint32(number), TaskId: taskID(number), Slots: 1}
	if f.send != nil {
		f.number++
		f.send(&agentv1.CoordinatorMessage{Message: &agentv1.CoordinatorMessage_Assignments{Assignments: &agentv1.Assignments{
			Number: f.number, Specs: []*agentv1.TaskSpec{{Job: 1, Spec: uint32(number), Task: spec}},
			Add: []*agentv1.Assignment{f.tasks[ref]},
		}}})
	}
	return ref
}

func taskID(number uint64) string { return fmt.Sprintf("task%d", number) }

func (f *farm) remove(ref task.Ref, kind agentv1.RemovalKind) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.number++
	f.send(&agentv1.CoordinatorMessage{Message: &agentv1.CoordinatorMessage_Assignments{Assignments: &agentv1.Assignments{
		Number: f.number,
		Remove: []*agentv1.Removal{{Ref: ref.Message(), Kind: kind, JobId: "job", TaskId: taskID(ref.Task)}},
	}}})
}

// read asks for a file of a task.
func (f *farm) read(ref task.Ref, name string, follow bool) string {
	f.mu.Lock()
	id := ref.String() + "/" + name
	f.send(&agentv1.CoordinatorMessage{Message: &agentv1.CoordinatorMessage_File{File: &agentv1.FileRequest{
		Id: id, Operation: agentv1.FileOperation_FILE_OPERATION_READ, Root: "workitems/job/job-1/" + taskID(ref.Task),
		Name: name, Follow: follow, Attempt: ref.Message(),
	}}})
	f.mu.Unlock()
	select {
	case <-f.answered:
	case <-time.After(patience):
		require.FailNow(f.t, "no answer")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.TrimSpace(f.answers[id].String())
}

func (f *farm) phase(ref task.Ref, phase agentv1.AttemptPhase) *agentv1.AttemptReport {
	f.t.Helper()
	var report *agentv1.AttemptReport
	require.Eventually(f.t, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		report = f.reports[ref]
		return report.GetPhase() == phase
	}, patience, 5*time.Millisecond, "phase %s", phase)
	return report
}

func (f *farm) ended(ref task.Ref) *agentv1.AttemptReport {
	f.t.Helper()
	return f.phase(ref, agentv1.AttemptPhase_ATTEMPT_PHASE_ENDED)
}

func (f *farm) count(what *int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *what
}
