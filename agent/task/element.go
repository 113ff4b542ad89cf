package task

import (
	"strconv"
	"strings"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/sweep"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// ownSpec is the spec as it is for one task: of an element of an array, with its templates filled in.
func ownSpec(assignment *agentv1.Assignment, spec *agentv1.TaskSpec) (*agentv1.TaskSpec, error) {
	e := assignment.GetElement()
	if e == nil || spec == nil {
		return spec, nil
	}
	element := sweep.Element{Array: e.GetArrayId(), Index: e.GetIndex(), Columns: e.GetColumns(), Values: e.GetValues()}
	task, err := element.Task(spec.GetTask())
	if err != nil {
		return nil, batcherr.New(batcherr.KindInternal, batcherr.CodeInternalError, "The array's templates could not be filled in: %v", err)
	}
	return &agentv1.TaskSpec{Job: spec.GetJob(), Spec: spec.GetSpec(), Task: task, Packages: spec.GetPackages()}, nil
}

// element sets what an element of an array can read where its templates would not do, such as a value with quotes in a command line.
func element(e *agentv1.Element, set map[string]string) {
	if e == nil {
		return
	}
	set["BATCHYARD_ARRAY_ID"] = e.GetArrayId()
	set["BATCHYARD_ARRAY_INDEX"] = strconv.FormatInt(e.GetIndex(), 10)
	if len(e.GetColumns()) == 0 && len(e.GetValues()) == 1 {
		putValue(set, "BATCHYARD_ARRAY_ITEM", e.GetValues()[0])
	}
	for i, column := range e.GetColumns() {
		if i < len(e.GetValues()) {
			putValue(set, "BATCHYARD_ARRAY_"+strings.ToUpper(column), e.GetValues()[i])
		}
	}
}
