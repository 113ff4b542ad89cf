package lifecycle

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// MaxAutoPoolPrefix is the longest prefix of an automatic pool's id.
const MaxAutoPoolPrefix = 20

// JobOf is the job that a job schedule's specification describes; it shares the specification's parts.
func JobOf(spec *apiv1.JobSpecification) *apiv1.Job {
	job := &apiv1.Job{}
	copyByName(job, spec)
	return job
}

// JobSpecificationOf is the specification that describes a job; it shares the job's parts.
func JobSpecificationOf(job *apiv1.Job) *apiv1.JobSpecification {
	spec := &apiv1.JobSpecification{}
	copyByName(spec, job)
	return spec
}

// PoolOf is the pool that an automatic pool's specification describes; it shares the specification's parts.
func PoolOf(spec *apiv1.PoolSpecification) *apiv1.Pool {
	pool := &apiv1.Pool{}
	copyByName(pool, spec)
	return pool
}

// PoolSpecificationOf is the specification that describes a pool; it shares the pool's parts.
func PoolSpecificationOf(pool *apiv1.Pool) *apiv1.PoolSpecification {
	spec := &apiv1.PoolSpecification{}
	copyByName(spec, pool)
	return spec
}

// copyByName sets the fields of to that from has under the same name.
func copyByName(to, from proto.Message) {
	target := to.ProtoReflect()
	fields := target.Descriptor().Fields()
	from.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if same := fields.ByName(fd.Name()); same != nil {
			target.Set(same, v)
		}
		return true
	})
}

// FillPoolInfo writes the defaults into where a job that is to be created runs.
func FillPoolInfo(info *apiv1.PoolInfo) {
	auto := info.GetAutoPoolSpecification()
	if auto == nil {
		return
	}
	setDefault(&auto.KeepAlive, false)
	pool := PoolOf(auto.Pool)
	FillPool(pool)
	auto.Pool = PoolSpecificationOf(pool)
}

// FillJobSpecification writes the defaults into the specification of a job schedule that is to be created, and returns it.
func FillJobSpecification(spec *apiv1.JobSpecification) *apiv1.JobSpecification {
	job := JobOf(spec)
	FillJob(job)
	return JobSpecificationOf(job)
}

// OwnPool says whether a job runs on a pool that is made for it alone.
func OwnPool(info *apiv1.PoolInfo) bool {
	auto := info.GetAutoPoolSpecification()
	return auto != nil && auto.PoolLifetimeOption != apiv1.PoolLifetimeOption_POOL_LIFETIME_OPTION_JOB_SCHEDULE
}
