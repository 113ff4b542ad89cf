package state

import (
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// place is where a new job runs.
type place struct {
	poolID string
	// Number of the pool that was made for the job alone; 0: none was.
	own uint64
	// Why there is no pool.
	failure *apiv1.JobSchedulingError
}

// ownPlace is the pool that a job names, or a pool that is made for it under the id.
func (t *txn) ownPlace(info *apiv1.PoolInfo, id string) place {
	if !lifecycle.OwnPool(info) {
		return place{poolID: info.GetPoolId()}
	}
	p, failure := t.makeAutoPool(info.AutoPoolSpecification, id)
	if failure != nil {
		return place{failure: failure}
	}
	return place{poolID: p.rec.Pool.Id, own: p.rec.Uid}
}

// makeAutoPool makes an automatic pool; where it can't, it says why.
func (t *txn) makeAutoPool(spec *apiv1.AutoPoolSpecification, id string) (*pool, *apiv1.JobSchedulingError) {
	fresh := proto.CloneOf(lifecycle.PoolOf(spec.GetPool()))
	fresh.Id = id
	err := t.packageFault(fresh.ApplicationPackageReferences)
	if err == nil {
		err = t.createPool(&raftlogv1.CreatePool{Pool: fresh}).Err
	}
	if err != nil {
		return nil, autoPoolFailure(err)
	}
	p, _ := t.pool(t.account, id)
	return p, nil
}

// packageFault says which of the application packages can't be deployed.
func (t *txn) packageFault(refs []*apiv1.ApplicationPackageReference) *batcherr.Error {
	for _, ref := range refs {
		rec := &raftlogv1.ApplicationRecord{}
		if b := t.get(keyApp(t.account, ref.ApplicationId)); b != nil {
			t.decode(b, rec)
		}
		if why := lifecycle.PackageFault(rec.Application, ref.Version); why != "" {
			return batcherr.Of(batcherr.CodeInvalidApplicationPackageReferences).
				With(ref.ApplicationId, ref.Version).With(batcherr.ValueReason, why)
		}
	}
	return nil
}

// autoPoolFailure says in a job's words why its pool was not made.
func autoPoolFailure(err *batcherr.Error) *apiv1.JobSchedulingError {
	out := &apiv1.JobSchedulingError{Category: apiv1.ErrorSourceCategory_ERROR_SOURCE_CATEGORY_USER_ERROR, Message: err.Message}
	switch err.Code {
	case batcherr.CodeInvalidApplicationPackageReferences:
		out.Code = batcherr.CodeInvalidApplicationPackageReferencesInAutoPool
	case batcherr.CodePoolQuotaReached:
		out.Code = batcherr.CodeAutoPoolCreationFailedWithQuotaReached
	default:
		out.Code = batcherr.CodeInvalidAutoPoolSettings
	}
	for _, v := range err.Values {
		out.Details = append(out.Details, &apiv1.NameValuePair{Name: v.Key, Value: v.Value})
	}
	return out
}

// dropAutoPool begins to delete the pool that was made for a job alone, unless it is to be kept.
func (t *txn) dropAutoPool(j *job) {
	t.dropPool(j.rec.Account, j.poolID(), j.rec.AutoPool, j.rec.Job.GetPoolInfo().GetAutoPoolSpecification())
}

// dropPool begins to delete an automatic pool: the one with the number, not one that a user has made under its id since.
func (t *txn) dropPool(account, id string, uid uint64, spec *apiv1.AutoPoolSpecification) {
	if p, ok := t.pool(account, id); ok && p.rec.Uid == uid && !spec.GetKeepAlive() && p.rec.Pool.State == apiv1.PoolState_POOL_STATE_ACTIVE {
		t.startPoolDeletion(p)
	}
}

// checkMove says whether a job may get the pool: another one only while it is disabled; of an automatic one only whether it is kept alive changes.
func checkMove(current *apiv1.Job, to *apiv1.PoolInfo) *batcherr.Error {
	auto := to.GetAutoPoolSpecification()
	switch {
	case to == nil || proto.Equal(to, current.PoolInfo):
	case auto != nil && !sameButKept(auto, current.PoolInfo.GetAutoPoolSpecification()):
		return batcherr.InvalidProperty("poolInfo.autoPoolSpecification", "", "of an automatic pool that lives as long as its job only keepAlive can be changed")
	case auto == nil && current.State != jobDisabled:
		return batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "the pool of a job can be changed only while the job is disabled")
	}
	return nil
}

// sameButKept says whether a change of an automatic pool changes no more than whether it is kept alive. A change need not repeat the pool.
func sameButKept(change, current *apiv1.AutoPoolSpecification) bool {
	if current == nil || current.PoolLifetimeOption != apiv1.PoolLifetimeOption_POOL_LIFETIME_OPTION_JOB {
		return false
	}
	same := proto.CloneOf(change)
	same.KeepAlive = current.KeepAlive
	if same.Pool == nil {
		same.Pool = current.Pool
	}
	return proto.Equal(same, current)
}

// mergePoolInfo gives a job the pool that checkMove has let pass.
func mergePoolInfo(job *apiv1.Job, to *apiv1.PoolInfo) {
	auto := to.AutoPoolSpecification
	switch {
	case auto == nil:
		job.PoolInfo = to
		job.ExecutionInfo.PoolId = to.PoolId
	case auto.KeepAlive != nil:
		job.PoolInfo.AutoPoolSpecification.KeepAlive = auto.KeepAlive
	}
}
