package formula

import (
	"context"
	"testing"

	"github.com/batchyard/batchyard/internal/batcherr"
)

var seeds = []string{
	pendingFormula, preemptedFormula, cpuFormula, hoursFormula, tasksFormula, parallelFormula, initialFormula, oneLineFormula, slotsFormula,
	"$something_useless", "x = [1,2] * val(percentile([1],5), -1) ? stop() : \"a\\\"b\"", "x = lg(round(1.5e3), $ActiveTasks)", "a=time(\"2016\").year",
	"x = $CPUPercent.GetSample(time(), 5 * TimeInterval_100ns, 3)", "$NodeDeallocationOption = 1 ? retaineddata : requeue // \r\n",
}

func FuzzParse(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		parsed, err := Parse(s)
		if err == nil && parsed.String() != s {
			t.Errorf("the text is %q", parsed)
		}
		if err != nil && !batcherr.HasKind(err, batcherr.KindInvalid) {
			t.Errorf("%v", err)
		}
	})
}

func FuzzEvaluate(f *testing.F) {
	for _, s := range seeds {
		f.Add(s, 10, 2.5)
	}
	f.Fuzz(func(t *testing.T, s string, n int, v float64) {
		parsed, err := Parse(s)
		if err != nil {
			return
		}
		history := series{}
		for _, name := range Variables() {
			history[name] = repeated(max(0, min(n, 100)), float64(int(v)))
		}
		in := complete(Inputs{History: history, Dedicated: 3})
		first, err := parsed.Evaluate(context.Background(), in)
		if len(first.Text) > maxResults || first.Dedicated < 0 || first.LowPriority < 0 {
			t.Errorf("results %+v", first)
		}
		if err != nil && !batcherr.HasCode(err, batcherr.CodeInsufficientSampleData, batcherr.CodeAutoScalingFormulaEvaluationError) {
			t.Errorf("%v", err)
		}
		second, again := parsed.Evaluate(context.Background(), in)
		if first != second || (err == nil) != (again == nil) {
			t.Errorf("not the same again: %+v %v, %+v %v", first, err, second, again)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(tasksFormula); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEvaluate(b *testing.B) {
	f, err := Parse(tasksFormula)
	if err != nil {
		b.Fatal(err)
	}
	in := complete(Inputs{History: fixed(series{PendingTasks: repeated(720, 5)}.Samples(PendingTasks))})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Evaluate(context.Background(), in); err != nil {
			b.Fatal(err)
		}
	}
}

// fixed are the same samples of every variable.
type fixed []Sample

func (f fixed) Samples(string) []Sample { return f }

func (f fixed) Latest(string) (float64, bool) { return f[len(f)-1].Value, true }
