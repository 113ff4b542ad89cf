package state

import (
	"encoding/binary"

	"github.com/batchyard/batchyard/internal/lifecycle"
)

// Every key begins with the letter of its table. Numbers are big-endian, so that keys sort as they do. The tables of a job's tasks begin with
// the job's number: deleting a job is a range deletion a table.
const (
	tableMeta      = 'M' // name → value
	tableAccount   = 'A' // account → AccountRecord
	tablePool      = 'P' // pool number → PoolRecord
	tableNode      = 'N' // node number → NodeRecord
	tableNodeStats = 'u' // node number → totals
	tableJob       = 'J' // job number → JobRecord
	tableSchedule  = 's' // job schedule number → JobScheduleRecord
	tableCounts    = 'c' // job number → JobCounts
	tableSpec      = 'S' // job, spec number → serialised api.v1.Task
	tableSpecHash  = 'h' // job, hash → spec number
	tableEntry     = 't' // job, task → TaskEntry
	tableExecution = 'x' // job, task → TaskExecution
	tableTaskID    = 'i' // job, id → task number
	tableLastID    = 'l' // job → the last of the ids that its tasks ever had, see idAfter
	tableQueue     = 'q' // job, first task → run of queued tasks
	tableHeld      = 'r' // node, job, task → NodeTask
	tableDependent = 'd' // job, id, 0, dependent task → nothing
	tableRanges    = 'D' // job, dependent task → TaskDependencies with its ranges
	tableSatisfied = 'n' // job, first number → last number of a run of satisfied numeric ids
	tableHopeless  = 'f' // job, numeric id → how many tasks with it will not satisfy their dependents
	tableApp       = 'a' // account, 0, id → ApplicationRecord
	tableToken     = 'k' // id → JoinTokenRecord
	tableMember    = 'm' // id → MemberRecord
	tableSite      = 'w' // job, node → JobNode
	tableSubtask   = 'g' // job, task, instance → SubtaskRecord
	tableFailure   = 'F' // job, kind → FailureKind
	tableArray     = 'y' // job, first task → TaskArrayRecord
	tableItems     = 'Y' // job, first task of some → ItemsRecord
	tableGone      = 'G' // job, first task → last task of a run of deleted elements
	tableRelease   = 'e' // job, number → Release
	tableNews      = 'E' // job, number → HopelessNews
	tableFailed    = 'z' // job, task → nothing: the task is completed and has failed

	tableArrayCounts = 'v' // job, first task of an array → JobCounts
)

// jobTables are the tables whose keys begin with a job's number.
var jobTables = [...]byte{
	tableCounts, tableSpec, tableSpecHash, tableEntry, tableExecution, tableTaskID, tableQueue, tableDependent, tableRanges, tableSatisfied, tableHopeless, tableLastID, tableSite, tableSubtask,
	tableFailure, tableArray, tableItems, tableGone, tableFailed, tableRelease, tableNews, tableArrayCounts,
}

func keyName(table byte, name string) []byte { return append([]byte{table}, name...) }

func keyNumber(table byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{table}, n)
}

func keyTask(table byte, job, task uint64) []byte {
	b := make([]byte, 1, 17)
	b[0] = table
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, job), task)
}

func keySpec(job uint64, spec uint32) []byte {
	return binary.BigEndian.AppendUint32(keyNumber(tableSpec, job), spec)
}

func keySpecHash(job uint64, hash []byte) []byte {
	return append(keyNumber(tableSpecHash, job), hash...)
}

func keyTaskID(job uint64, id string) []byte {
	return append(keyNumber(tableTaskID, job), lifecycle.IDKey(id)...)
}

// idAfter orders ids (lower case) by length, then by letters: numbered ids come in the order of their numbers.
func idAfter(a, b string) bool {
	if len(a) != len(b) {
		return len(a) > len(b)
	}
	return a > b
}

func keyHeld(node uint64, t TaskKey) []byte {
	b := make([]byte, 1, 25)
	b[0] = tableHeld
	b = binary.BigEndian.AppendUint64(b, node)
	b = binary.BigEndian.AppendUint64(b, t.Job)
	return binary.BigEndian.AppendUint64(b, t.Task)
}

func keySubtask(t TaskKey, id uint32) []byte {
	return binary.BigEndian.AppendUint32(keyTask(tableSubtask, t.Job, t.Task), id)
}

// keyDependent takes the id in lower case.
func keyDependent(job uint64, id string, task uint64) []byte {
	return binary.BigEndian.AppendUint64(append(append(keyNumber(tableDependent, job), id...), 0), task)
}

func keyApp(account, id string) []byte {
	return append(append(keyName(tableApp, account), 0), lifecycle.IDKey(id)...)
}

// prefixEnd is the first key after all those with the prefix.
func prefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] != 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}

// TaskKey names a task by its job's number and its own.
type TaskKey struct{ Job, Task uint64 }
