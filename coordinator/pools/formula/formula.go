// Package formula evaluates the autoscale formulas of Azure Batch.
package formula

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/batchyard/batchyard/internal/batcherr"
)

// Limits of a formula's text and of the work that one evaluation may do.
const (
	MaxLength     = 8192 // characters
	MaxStatements = 100

	maxDepth    = 200     // of expressions within expressions
	maxElements = 16384   // of one vector, and of all arguments of one call
	maxSteps    = 1000000 // operations, an operation on a vector counting once an element
	maxResults  = 16384   // bytes of the results text
	maxShown    = 1024    // bytes of one value in it
)

// DefaultPeriod is the time from one sample to the next.
const DefaultPeriod = 30 * time.Second

// Sample is the value of a variable at one time.
type Sample struct {
	Time  time.Time
	Value float64
}

// History is what is known of the variables that a formula reads. Names are those of Variables.
type History interface {
	// Samples returns all samples of a variable that are kept, oldest first. They are not changed.
	Samples(variable string) []Sample
	// Latest is a variable's present value; false where none is known.
	Latest(variable string) (float64, bool)
}

// Inputs are what an evaluation depends on, besides the formula.
type Inputs struct {
	Now time.Time
	// The pool's targets at present.
	Dedicated, LowPriority int32
	// Deallocation is used where the formula sets none; empty: Requeue.
	Deallocation string
	History      History
	// Period is the time from one sample to the next; 0: DefaultPeriod.
	Period time.Duration
	// Rand gives numbers from 0 up to, not including, 1.
	Rand func() float64
}

// Results is what a formula computed. Where its evaluation failed, it holds what was set until then; the pool is to be left alone.
type Results struct {
	Dedicated, LowPriority int32
	// Deallocation is one of the constants Requeue, Terminate, TaskCompletion, RetainedData.
	Deallocation string
	// Text lists the outputs and then the formula's own variables in alphabetical order: name=value, joined with semicolons.
	Text string
}

// Formula is a formula that has been parsed. Several goroutines may evaluate it at the same time.
type Formula struct {
	text       string
	statements []statement
}

// Parse reads a formula. Its errors are *batcherr.Error: AutoScaleFormulaTooLong or AutoScalingFormulaSyntaxError with the place and the reason.
func Parse(text string) (*Formula, error) {
	statements, err := parse(text)
	switch {
	case errors.Is(err, errTooLong):
		return nil, batcherr.Of(batcherr.CodeAutoScaleFormulaTooLong)
	case err != nil:
		return nil, batcherr.Of(batcherr.CodeAutoScalingFormulaSyntaxError).With(batcherr.ValueReason, err.Error())
	}
	return &Formula{text: text, statements: statements}, nil
}

// String is the text that was parsed.
func (f *Formula) String() string { return f.text }

// ValueMessage is the key of the detail that says where and why an evaluation failed.
const ValueMessage = "Message"

// Evaluate runs a formula. The results are of use even where it fails. Its errors are *batcherr.Error: InsufficientSampleData or
// AutoScalingFormulaEvaluationError with the place and the reason. It does bounded work and stops early when ctx ends.
func (f *Formula) Evaluate(ctx context.Context, in Inputs) (Results, error) {
	r := newRun(ctx, in)
	err := r.statements(f.statements)
	if errors.Is(err, errStop) {
		err = nil
	}
	var short *shortage
	switch {
	case err == nil:
		return r.results(), nil
	case errors.As(err, &short):
		return r.results(), batcherr.Of(batcherr.CodeInsufficientSampleData).With(ValueMessage, err.Error())
	default:
		return r.results(), batcherr.Of(batcherr.CodeAutoScalingFormulaEvaluationError).With(ValueMessage, err.Error())
	}
}

// Unchanged is what a formula gives that does nothing.
func Unchanged(in Inputs) Results { return newRun(context.Background(), in).results() }

// position is a place in a formula; lines and columns are counted from 1.
type position struct{ line, column int }

func (p position) errorf(format string, args ...any) error {
	return &fault{at: p, text: fmt.Sprintf(format, args...)}
}

// fault is what is wrong at a place of a formula.
type fault struct {
	at   position
	text string
}

func (f *fault) Error() string {
	return fmt.Sprintf("Line %d, Col %d: %s", f.at.line, f.at.column, f.text)
}

// shortage is a fault of the data, not of the formula.
type shortage struct{ fault }

// errStop ends an evaluation that succeeds.
var errStop = errors.New("stop")
