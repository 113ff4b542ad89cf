package lifecycle

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// TestSpecificationsFit checks that what a specification says has a place of the same kind in what it describes.
func TestSpecificationsFit(t *testing.T) {
	for _, pair := range [][2]proto.Message{{&apiv1.JobSpecification{}, &apiv1.Job{}}, {&apiv1.PoolSpecification{}, &apiv1.Pool{}}} {
		fields := pair[0].ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			from := fields.Get(i)
			to := pair[1].ProtoReflect().Descriptor().Fields().ByName(from.Name())
			require.NotNil(t, to, from.FullName())
			require.Equal(t, from.Kind(), to.Kind(), from.FullName())
			require.Equal(t, []any{from.Cardinality(), from.HasPresence()}, []any{to.Cardinality(), to.HasPresence()}, from.FullName())
			require.Equal(t, name(from.Message()), name(to.Message()))
			require.Equal(t, from.JSONName(), to.JSONName())
		}
	}
}

func name(d protoreflect.MessageDescriptor) protoreflect.FullName {
	if d == nil {
		return ""
	}
	return d.FullName()
}

func TestSpecificationsAreFilled(t *testing.T) {
	spec := FillJobSpecification(&apiv1.JobSpecification{
		DisplayName: "x", Metadata: []*apiv1.MetadataItem{{Name: "a"}},
		PoolInfo: &apiv1.PoolInfo{AutoPoolSpecification: &apiv1.AutoPoolSpecification{Pool: &apiv1.PoolSpecification{VmSize: "small"}}},
	})
	require.Equal(t, "x", spec.DisplayName)
	require.Len(t, spec.Metadata, 1)
	require.EqualValues(t, -1, spec.GetMaxParallelTasks())
	require.Equal(t, apiv1.AllTasksCompleteMode_ALL_TASKS_COMPLETE_MODE_NO_ACTION, spec.OnAllTasksComplete)
	auto := spec.PoolInfo.AutoPoolSpecification
	require.NotNil(t, auto.KeepAlive)
	require.EqualValues(t, 1, auto.Pool.GetTaskSlotsPerNode())
	require.Equal(t, "small", PoolOf(auto.Pool).VmSize)
	require.True(t, proto.Equal(spec, FillJobSpecification(proto.CloneOf(spec))), "filling twice changes nothing")
}

func TestAutoPoolID(t *testing.T) {
	require.Equal(t, "mine00000000-0000-4000-8000-000000000000", AutoPoolID("mine", [16]byte{}))
	id := AutoPoolID("twenty-characters-xx", [16]byte{0xff, 1, 2, 3, 4, 5, 0xff, 7, 0xff})
	require.Equal(t, "twenty-characters-xxFF010203-0405-4F07-BF00-000000000000", id)
	require.True(t, ValidID(id))
}
