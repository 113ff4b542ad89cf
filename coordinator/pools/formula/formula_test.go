package formula

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/batchyard/batchyard/internal/batcherr"
)

// thursday is the time of the documented sample.
var thursday = time.Date(2016, 10, 13, 19, 18, 47, 805e6, time.UTC)

// series are samples by variable; the newest is half a period old, as in a service that samples every half minute.
type series map[string][]float64

func (s series) Samples(variable string) []Sample {
	values := s[variable]
	out := make([]Sample, len(values))
	for i, v := range values {
		age := DefaultPeriod/2 + time.Duration(len(values)-1-i)*DefaultPeriod
		out[i] = Sample{Time: thursday.Add(-age), Value: v}
	}
	return out
}

func (s series) Latest(variable string) (float64, bool) {
	if values := s[variable]; len(values) > 0 {
		return values[len(values)-1], true
	}
	return 0, false
}

// repeated makes n samples of one value.
func repeated(n int, v float64) []float64 { return slices.Repeat([]float64{v}, n) }

func evaluate(t *testing.T, text string, in Inputs) (Results, error) {
	t.Helper()
	f, err := Parse(text)
	if err != nil {
		t.Fatalf("Parse(%q): %v", text, err)
	}
	return f.Evaluate(context.Background(), complete(in))
}

func complete(in Inputs) Inputs {
	if in.Now.IsZero() {
		in.Now = thursday
	}
	if in.History == nil {
		in.History = series{}
	}
	if in.Rand == nil {
		in.Rand = func() float64 { return 0.25 }
	}
	return in
}

// show evaluates one expression.
func shown(t *testing.T, expression string, in Inputs) string {
	t.Helper()
	r, err := evaluate(t, "x = "+expression, in)
	if err != nil {
		return detail(err)
	}
	_, x, _ := strings.Cut(r.Text, ";x=")
	return x
}

// detail is what an error says of the place and the reason.
func detail(err error) string {
	e := batcherr.From(err)
	if e == nil {
		return "no error"
	}
	if text, ok := e.Value(ValueMessage); ok {
		return text
	}
	text, _ := e.Value(batcherr.ValueReason)
	return text
}

const (
	pendingFormula = `startingNumberOfVMs = 1;
maxNumberofVMs = 25;
pendingTaskSamplePercent = $PendingTasks.GetSamplePercent(180 * TimeInterval_Second);
pendingTaskSamples = pendingTaskSamplePercent < 70 ? startingNumberOfVMs : avg($PendingTasks.GetSample(180 * TimeInterval_Second));
$TargetDedicatedNodes=min(maxNumberofVMs, pendingTaskSamples);
$NodeDeallocationOption = taskcompletion;`

	preemptedFormula = `maxNumberofVMs = 25;
$TargetDedicatedNodes = min(maxNumberofVMs, $PreemptedNodeCount.GetSample(180 * TimeInterval_Second));
$TargetLowPriorityNodes = min(maxNumberofVMs , maxNumberofVMs - $TargetDedicatedNodes);
$NodeDeallocationOption = taskcompletion;`

	cpuFormula = `$totalDedicatedNodes =
    (min($CPUPercent.GetSample(TimeInterval_Minute * 10)) > 0.7) ?
    ($CurrentDedicatedNodes * 1.1) : $CurrentDedicatedNodes;
$totalDedicatedNodes =
    (avg($CPUPercent.GetSample(TimeInterval_Minute * 60)) < 0.2) ?
    ($CurrentDedicatedNodes * 0.9) : $totalDedicatedNodes;
$TargetDedicatedNodes = min(400, $totalDedicatedNodes)`

	hoursFormula = `$curTime = time();
$workHours = $curTime.hour >= 8 && $curTime.hour < 18;
$isWeekday = $curTime.weekday >= 1 && $curTime.weekday <= 5;
$isWorkingWeekdayHour = $workHours && $isWeekday;
`

	tasksFormula = `// Get pending tasks for the past 15 minutes.
$samples = $PendingTasks.GetSamplePercent(TimeInterval_Minute * 15);
// If we have fewer than 70 percent data points, we use the last sample point,
// otherwise we use the maximum of last sample point and the history average.
$tasks = $samples < 70 ? max(0,$PendingTasks.GetSample(1)) : max( $PendingTasks.GetSample(1), avg($PendingTasks.GetSample(TimeInterval_Minute * 15)));
// If number of pending tasks is not 0, set targetVM to pending tasks, otherwise
// half of current dedicated.
$targetVMs = $tasks > 0? $tasks:max(0, $TargetDedicatedNodes/2);
// The pool size is capped at 20, if target VM value is more than that, set it
// to 20. This value should be adjusted according to your use case.
$TargetDedicatedNodes = max(0, min($targetVMs, 20));
// Set node deallocation mode - let running tasks finish before removing a node
$NodeDeallocationOption = taskcompletion;`

	parallelFormula = `// Determine whether 70 percent of the samples have been recorded in the past
// 15 minutes; if not, use last sample
$samples = $ActiveTasks.GetSamplePercent(TimeInterval_Minute * 15);
$tasks = $samples < 70 ? max(0,$ActiveTasks.GetSample(1)) : max( $ActiveTasks.GetSample(1),avg($ActiveTasks.GetSample(TimeInterval_Minute * 15)));
// Set the number of nodes to add to one-fourth the number of active tasks (the
// MaxTasksPerComputeNode property on this pool is set to 4, adjust this number
// for your use case)
$cores = $TargetDedicatedNodes * 4;
$extraVMs = (($tasks - $cores) + 3) / 4;
$targetVMs = ($TargetDedicatedNodes + $extraVMs);
// Attempt to grow the number of compute nodes to match the number of active
// tasks, with a maximum of 3
$TargetDedicatedNodes = max(0,min($targetVMs,3));
// Keep the nodes active until the tasks finish
$NodeDeallocationOption = taskcompletion;`

	initialFormula = `$TargetDedicatedNodes = 4;
lifespan         = time() - time("%s");
span             = TimeInterval_Minute * 60;
startup          = TimeInterval_Minute * 10;
ratio            = 50;

$TargetDedicatedNodes = (lifespan > startup ? (max($RunningTasks.GetSample(span, ratio), $ActiveTasks.GetSample(span, ratio)) == 0 ? 0 : $TargetDedicatedNodes) : 4);`

	oneLineFormula = `totalNodes=($CPUPercent.GetSamplePercent(TimeInterval_Minute*0,TimeInterval_Minute*10)<0.7?5:(min($CPUPercent.GetSample(TimeInterval_Minute*0, TimeInterval_Minute*10))>0.8?($CurrentDedicated*1.1):$CurrentDedicated));`

	slotsFormula = `tasksToBeRunConCurrently = 270;
maxNumberofVMs = tasksToBeRunConCurrently/$TaskSlotsPerNode;
timeInterval = 7;
$samples = $ActiveTasks.GetSamplePercent(TimeInterval_Minute * timeInterval);
$tasks = $samples < 70 ? max(0, $ActiveTasks.GetSample(1)) : max( $ActiveTasks.GetSample(1), avg($ActiveTasks.GetSample(TimeInterval_Minute * timeInterval)));
minimumNodesRequired = ($tasks < $TaskSlotsPerNode && $tasks > 0) ? 1 : 0;
desiredNodesRequired = ($tasks/$TaskSlotsPerNode) + 0.7;
desiredNodesRequired = $tasks > $TaskSlotsPerNode  ? desiredNodesRequired  : minimumNodesRequired;
$TargetLowPriorityNodes = min(maxNumberofVMs, desiredNodesRequired);
$NodeDeallocationOption = taskcompletion;`
)

// TestDocumented evaluates the formulas that users copy from the documentation.
func TestDocumented(t *testing.T) {
	for _, c := range []struct {
		name, formula string
		in            Inputs
		want          string // of the results
	}{
		{"pending, no samples", pendingFormula, Inputs{},
			"$TargetDedicatedNodes=1;$TargetLowPriorityNodes=0;$NodeDeallocationOption=taskcompletion;" +
				"maxNumberofVMs=25;pendingTaskSamplePercent=0;pendingTaskSamples=1;startingNumberOfVMs=1"},
		{"pending, 40 tasks", pendingFormula, Inputs{History: series{PendingTasks: repeated(6, 40)}}, "$TargetDedicatedNodes=25;"},
		{"pending, 3 tasks", pendingFormula, Inputs{History: series{PendingTasks: repeated(6, 3)}}, "$TargetDedicatedNodes=3;"},
		{"pending, 4 of 6 samples", pendingFormula, Inputs{History: series{PendingTasks: repeated(4, 9)}}, "$TargetDedicatedNodes=1;"},
		{"pending, 5 of 6 samples", pendingFormula, Inputs{History: series{PendingTasks: {1, 2, 3, 4, 5}}}, "$TargetDedicatedNodes=3;"},
		{"preempted, none", preemptedFormula, Inputs{History: series{PreemptedNodeCount: repeated(6, 0)}},
			"$TargetDedicatedNodes=0;$TargetLowPriorityNodes=25;$NodeDeallocationOption=taskcompletion;"},
		{"preempted, 4", preemptedFormula, Inputs{History: series{PreemptedNodeCount: repeated(6, 4)}},
			"$TargetDedicatedNodes=4;$TargetLowPriorityNodes=21;"},
		{"busy processors", cpuFormula, Inputs{History: series{CPUPercent: repeated(120, 0.9), CurrentDedicatedNodes: {10}}}, "$TargetDedicatedNodes=11;"},
		{"idle processors", cpuFormula, Inputs{History: series{CPUPercent: repeated(120, 0.1), CurrentDedicatedNodes: {10}}}, "$TargetDedicatedNodes=9;"},
		{"middling processors", cpuFormula, Inputs{History: series{CPUPercent: repeated(120, 0.5), CurrentDedicatedNodes: {10}}}, "$TargetDedicatedNodes=10;"},
		{"large pool", cpuFormula, Inputs{History: series{CPUPercent: repeated(120, 0.9), CurrentDedicatedNodes: {390}}}, "$TargetDedicatedNodes=400;"},
		{"no Monday", "$TargetDedicatedNodes = (time().weekday == 1 ? 5:1);", Inputs{}, "$TargetDedicatedNodes=1;"},
		{"Monday", "$TargetDedicatedNodes = (time().weekday == 1 ? 5:1);", Inputs{Now: thursday.AddDate(0, 0, 4)}, "$TargetDedicatedNodes=5;"},
		{"after work", hoursFormula + "$TargetDedicatedNodes = $isWorkingWeekdayHour ? 20:10;", Inputs{},
			"$TargetDedicatedNodes=10;$TargetLowPriorityNodes=0;$NodeDeallocationOption=requeue;" +
				"$curTime=2016-10-13T19:18:47.805Z;$isWeekday=1;$isWorkingWeekdayHour=0;$workHours=0"},
		{"working hour, by its alias", hoursFormula + "$TargetDedicated = $isWorkingWeekdayHour ? 20:10;", Inputs{Now: thursday.Add(-6 * time.Hour)},
			"$TargetDedicatedNodes=20;"},
		{"local time", strings.Replace(hoursFormula, "time()", "time() + (-6 * TimeInterval_Hour)", 1) + "$TargetDedicatedNodes = $isWorkingWeekdayHour ? 20:10;",
			Inputs{}, "$TargetDedicatedNodes=20;"},
		{"tasks, no samples", tasksFormula, Inputs{Dedicated: 9},
			"$TargetDedicatedNodes=4;$TargetLowPriorityNodes=0;$NodeDeallocationOption=taskcompletion;$samples=0;$targetVMs=4.5;$tasks=0"},
		{"tasks, one sample", tasksFormula, Inputs{History: series{PendingTasks: {7}}}, "$TargetDedicatedNodes=7;"},
		{"tasks, last above average", tasksFormula, Inputs{History: series{PendingTasks: append(repeated(29, 2), 12)}}, "$TargetDedicatedNodes=12;"},
		{"tasks, average above last", tasksFormula, Inputs{History: series{PendingTasks: append(repeated(29, 12), 0)}}, "$TargetDedicatedNodes=11;"},
		{"tasks, capped", tasksFormula, Inputs{History: series{PendingTasks: repeated(30, 99)}}, "$TargetDedicatedNodes=20;"},
		{"parallel, 9 tasks", parallelFormula, Inputs{History: series{ActiveTasks: repeated(30, 9)}}, "$TargetDedicatedNodes=3;"},
		{"parallel, 5 tasks", parallelFormula, Inputs{History: series{ActiveTasks: repeated(30, 5)}}, "$TargetDedicatedNodes=2;"},
		{"parallel, 6 tasks", parallelFormula, Inputs{History: series{ActiveTasks: repeated(30, 6)}}, "$TargetDedicatedNodes=2;"},
		{"young pool", fmt.Sprintf(initialFormula, "Thu, 13 Oct 2016 19:15:00 GMT"), Inputs{}, "$TargetDedicatedNodes=4;"},
		{"old and idle pool", fmt.Sprintf(initialFormula, "Thu, 13 Oct 2016 09:15:00 GMT"),
			Inputs{History: series{RunningTasks: repeated(120, 0), ActiveTasks: repeated(120, 0)}}, "$TargetDedicatedNodes=0;"},
		{"old and busy pool", fmt.Sprintf(initialFormula, "Thu, 13 Oct 2016 09:15:00 GMT"),
			Inputs{History: series{RunningTasks: repeated(120, 0), ActiveTasks: repeated(120, 1)}}, "$TargetDedicatedNodes=4;"},
		{"zero", "$TargetDedicatedNodes = 0", Inputs{Dedicated: 5}, "$TargetDedicatedNodes=0;"},
		{"three", "$TargetDedicatedNodes=3", Inputs{},
			"$TargetDedicatedNodes=3;$TargetLowPriorityNodes=0;$NodeDeallocationOption=requeue"},
		{"current", "$TargetDedicatedNodes = $CurrentDedicatedNodes;", Inputs{History: series{CurrentDedicatedNodes: {6}}}, "$TargetDedicatedNodes=6;"},
		{"terminate", "$TargetDedicated=0;$NodeDeallocationOption=terminate", Inputs{},
			"$TargetDedicatedNodes=0;$TargetLowPriorityNodes=0;$NodeDeallocationOption=terminate"},
		{"samples of a new pool", "myActiveSamples=$ActiveTasks.GetSample(5);", Inputs{Dedicated: 2, LowPriority: 1},
			"$TargetDedicatedNodes=2;$TargetLowPriorityNodes=1;$NodeDeallocationOption=requeue;myActiveSamples=[]"},
		{"one line, no samples", oneLineFormula + "$TargetDedicated=min(100,totalNodes);", Inputs{},
			"$TargetDedicatedNodes=5;$TargetLowPriorityNodes=0;$NodeDeallocationOption=requeue;totalNodes=5"},
		{"one line, busy", oneLineFormula + "$targetDedicatedNodes=min(100,totalNodes);",
			Inputs{History: series{CPUPercent: repeated(20, 0.9), CurrentDedicatedNodes: {50}}}, "$TargetDedicatedNodes=55;"},
		{"slots, many tasks", slotsFormula, Inputs{History: series{ActiveTasks: repeated(14, 31), TaskSlotsPerNode: {10}}},
			"$TargetDedicatedNodes=0;$TargetLowPriorityNodes=3;"},
		{"slots, few tasks", slotsFormula, Inputs{History: series{ActiveTasks: repeated(14, 3), TaskSlotsPerNode: {10}}},
			"$TargetDedicatedNodes=0;$TargetLowPriorityNodes=1;"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := evaluate(t, c.formula, c.in)
			if err != nil {
				t.Fatal(err, detail(err))
			}
			if strings.HasSuffix(c.want, ";") && strings.HasPrefix(r.Text, c.want) || r.Text == c.want {
				return
			}
			t.Errorf("results\n%s\nwant\n%s", r.Text, c.want)
		})
	}
}

func TestExpressions(t *testing.T) {
	history := series{
		ActiveTasks: {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, CPUPercent: repeated(20, 0.5), TaskSlotsPerNode: {4},
	}
	for expression, want := range map[string]string{
		// Operators, as tightly as in C.
		"1 + 2 * 3":         "7",
		"(1 + 2) * 3":       "9",
		"10 - 4 - 3":        "3",
		"12 / 4 / 3":        "1",
		"-2 * -3":           "6",
		"!0 + !5":           "1",
		"!!7":               "1",
		"1 < 2 == 1":        "1",
		"1 + 1 > 1 && 0":    "0",
		"1 || 0 && 0":       "1",
		"0 ? 1 : 0 ? 2 : 3": "3",
		"1 ? 0 ? 4 : 5 : 6": "5",
		"2 >= 2":            "1",
		"2 != 2":            "0",
		"0.1 + 0.2":         "0.30000000000000004",
		"1e3":               "1000",
		".5":                "0.5",
		"-0":                "0",
		"1e20":              "1e+20",
		// What is not chosen is not evaluated.
		"1 ? 2 : $nothing": "2",
		"0 && $nothing":    "0",
		"3 || $nothing":    "1",
		"1 ? 2 : avg($RunningTasks.GetSample(30))": "2",
		// Vectors.
		"[1, 2, 3]":                      "[1,2,3]",
		"[1, 2, 3] * 2":                  "[2,4,6]",
		"[1, 2] + [3, 4]":                "[4,6]",
		"[4, 6] / [2, 3]":                "[2,2]",
		"[[1, 2], 3]":                    "[1,2,3]",
		"[]":                             "[]",
		"[5] > 4":                        "1",
		"2 * [5]":                        "10",
		"[1,2] + [3]":                    "[4,5]",
		"2 * [1, 2]":                     "Line 1, Col 7: double * doubleVec is not defined",
		"[1, 2] && 1":                    "Line 1, Col 5: a vector of 2 elements is not a number",
		"[1,2] < [3,4]":                  "Line 1, Col 11: doubleVec < doubleVec is not defined",
		"[1,2] + [1,2,3]":                "Line 1, Col 11: vectors of 2 and 3 elements do not go together",
		"[1,2] + TimeInterval_Day":       "Line 1, Col 11: doubleVec + timeinterval is not defined",
		"[1,2] / 0":                      "Line 1, Col 11: division by zero",
		"-[1,2]":                         "Line 1, Col 6: a vector of 2 elements is not a number",
		`"b" > "a"`:                      "1",
		`"a" + "b"`:                      "Line 1, Col 9: string + string is not defined",
		`"say \"\\\""`:                   `"say \"\\\""`,
		"requeue":                        "requeue",
		"1 ? TaskCompletion : terminate": "taskcompletion",
		// Times.
		"TimeInterval_Hour":                                    "01:00:00",
		"-36.5 * TimeInterval_Hour":                            "-1.12:30:00",
		"TimeInterval_Second / 4":                              "00:00:00.2500000",
		"TimeInterval_100ns":                                   "00:00:00.0000001",
		"TimeInterval_Year":                                    "365.00:00:00",
		"TimeInterval_Week - TimeInterval_Day":                 "6.00:00:00",
		"TimeInterval_Zero + TimeInterval_Millisecond":         "00:00:00.0010000",
		"-TimeInterval_Minute < TimeInterval_Zero":             "1",
		"TimeInterval_Day / TimeInterval_Hour":                 "Line 1, Col 22: timeinterval / timeinterval is not defined",
		"300 * TimeInterval_Year":                              "Line 1, Col 9: a timeinterval is at most 292 years long",
		"2 / TimeInterval_Day":                                 "Line 1, Col 7: double / timeinterval is not defined",
		"time() - TimeInterval_Hour":                           "Line 1, Col 12: a timeinterval can't be subtracted from a timestamp: add a negative one",
		"TimeInterval_Day + time()":                            "2016-10-14T19:18:47.805Z",
		`time("2016-10-13T21:18:47.805+02:00") == time()`:      "1",
		`time("") == time()`:                                   "1",
		`time("2016-10-13T19:18Z")`:                            "2016-10-13T19:18:00.000Z",
		`time("2016-10-13T19:18:01.1234567Z")`:                 "2016-10-13T19:18:01.123Z",
		`time("2016-10-13").day`:                               "13",
		`time("2016-10").month`:                                "10",
		`time("Thu, 13 Oct 2016 19:18:47 GMT").second`:         "47",
		`time("Thu, 13 Oct 2016 19:18:47 PST")`:                `Line 1, Col 5: "Thu, 13 Oct 2016 19:18:47 PST" is not a time such as 2006-01-02T15:04:05Z`,
		`time("2016-10-13") - time("2016-10-12")`:              "1.00:00:00",
		`time("9999-01-01") - time("0001-01-01")`:              "Line 1, Col 24: a timeinterval is at most 292 years long",
		`time("9999-01-01") + 5 * TimeInterval_Year`:           "Line 1, Col 24: a timestamp lies in the years 1 to 9999",
		`time("2016-10-16").weekday`:                           "0",
		"time().year * 100 + time().minute":                    "201618",
		"time().age":                                           "Line 1, Col 12: a timestamp has no part age",
		"1.hour":                                               "Line 1, Col 7: a double has no part hour",
		"TimeInterval_Minute.hour":                             "Line 1, Col 25: a timeinterval has no part hour",
		`time() > "2016"`:                                      "Line 1, Col 12: timestamp > string is not defined",
		"time() < 5 * TimeInterval_Day + time() && time() > 0": "Line 1, Col 54: timestamp > double is not defined",
		"time(5)":                                                                      "Line 1, Col 5: a double can't be read as a time",
		"$ActiveTasks.GetSample(time())":                                               "Line 1, Col 18: Insufficient data from data set: $ActiveTasks wanted more than 0%, received 0%",
		"$ActiveTasks.HistoryBeginTime()":                                              "2016-10-13T19:14:02.805Z",
		"$RunningTasks.HistoryBeginTime()":                                             "Line 1, Col 19: Insufficient data from data set: $RunningTasks has no samples",
		"$RunningTasks + 1":                                                            "Line 1, Col 5: Insufficient data from data set: $RunningTasks has no samples",
		"time() - $ActiveTasks.HistoryBeginTime()":                                     "00:04:45",
		"$ActiveTasks.GetSamplePeriod()":                                               "00:00:30",
		"$ActiveTasks.Count()":                                                         "10",
		"$activetasks.COUNT()":                                                         "10",
		"$ActiveTasks":                                                                 "10",
		"$ActiveTasks * 2 - $TaskSlotsPerNode":                                         "16",
		"$ActiveTasks.GetSample(3)":                                                    "[8,9,10]",
		"$ActiveTasks.GetSample(99)":                                                   "[1,2,3,4,5,6,7,8,9,10]",
		"$ActiveTasks.GetSample(0)":                                                    "[]",
		"$ActiveTasks.GetSample($TaskSlotsPerNode)":                                    "[7,8,9,10]",
		"$ActiveTasks.GetSample(-1)":                                                   "Line 1, Col 18: GetSample can't take -1 samples",
		"$ActiveTasks.GetSample(1, 2)":                                                 "Line 1, Col 18: GetSample takes a number alone",
		"$ActiveTasks.GetSample(TimeInterval_Minute)":                                  "[9,10]",
		"$ActiveTasks.GetSample(time() + -1*TimeInterval_Minute)":                      "[9,10]",
		"$ActiveTasks.GetSample(TimeInterval_Minute, TimeInterval_Minute * 2)":         "[7,8]",
		"$ActiveTasks.GetSample(TimeInterval_Minute * 2, TimeInterval_Minute)":         "[7,8]",
		"$ActiveTasks.GetSample(TimeInterval_Minute * 3, 70)":                          "[5,6,7,8,9,10]",
		"len($CPUPercent.GetSample(1 * TimeInterval_Minute, 6 * TimeInterval_Minute))": "10",
		"len($CPUPercent.GetSample(60 * TimeInterval_Second, 120 * TimeInterval_Second, 75))": "2",
		"$ActiveTasks.GetSamplePercent(TimeInterval_Minute * 10)":                             "50",
		"$ActiveTasks.GetSamplePercent(TimeInterval_Minute * 0, TimeInterval_Minute * 4)":     "100",
		"$ActiveTasks.GetSamplePercent(TimeInterval_Minute * 0)":                              "0",
		"$ActiveTasks.GetSamplePercent(TimeInterval_Second * 20)":                             "100",
		"$ActiveTasks.GetSamplePercent(5)":                                                    "Line 1, Col 18: GetSamplePercent takes a timestamp or a timeinterval first",
		"$ActiveTasks.GetSample(TimeInterval_Minute * 10, 80)":                                "Line 1, Col 18: Insufficient data from data set: $ActiveTasks wanted 80%, received 50%",
		"$ActiveTasks.GetSample(TimeInterval_Minute * 10, 80, 1)":                             "Line 1, Col 18: GetSample takes two times and a percentage at most",
		"$ActiveTasks.GetSample()":                                                            "Line 1, Col 18: there is no method GetSample with 0 arguments",
		"$ActiveTasks.Forget()":                                                               "Line 1, Col 18: there is no method Forget with 0 arguments",
		"5 .GetSample(1)":                                                                     "Line 1, Col 8: a double has no method GetSample",
		// Functions.
		"avg(1, [2, 3], 6)":             "3",
		"avg()":                         "Line 1, Col 5: there are no values to choose from or to add up",
		"max([])":                       "Line 1, Col 5: there are no values to choose from or to add up",
		"sum()":                         "0",
		"len([1,2], 3)":                 "3",
		"lg(8)":                         "3",
		"lg(8, 2)":                      "[3,1]",
		"lg(vec(8))":                    "[3]",
		"lg([8])":                       "[3]",
		"log(1000)":                     "3",
		"log(100)":                      "2",
		"ln(1)":                         "0",
		"ln(0)":                         "Line 1, Col 5: the result is not a finite number",
		"log(-1)":                       "Line 1, Col 5: the result is not a finite number",
		"round(2.5)":                    "3",
		"round(-2.5)":                   "-3",
		"ceil(2.1, 3)":                  "[3,3]",
		"floor(-2.1)":                   "-3",
		"max(1, [7, 3])":                "7",
		"Min(4, 2, $ActiveTasks)":       "2",
		"norm(3, 4)":                    "5",
		"range(3, 9, 4)":                "6",
		"std(2, 4, 4, 4, 5, 5, 7, 9)":   "2.138089935299395",
		"std(2)":                        "0",
		"percentile([3, 1, 2, 4], 50)":  "2",
		"percentile([3, 1, 2, 4], 0)":   "1",
		"percentile([3, 1, 2, 4], 100)": "4",
		"percentile([3, 1, 2, 4], 51)":  "3",
		"percentile([1], 101)":          "Line 1, Col 5: a percentile is from 0 to 100, not 101",
		"percentile([], 10)":            "Line 1, Col 5: there are no values to choose from or to add up",
		"percentile(1)":                 "Line 1, Col 5: percentile does not take 1 arguments",
		"val([4, 5, 6], 1)":             "5",
		"val([4, 5, 6], 3)":             "Line 1, Col 5: a vector of 3 elements has none at 3",
		"val([4, 5, 6], -0.5)":          "Line 1, Col 5: a vector of 3 elements has none at -0.5",
		"val(7, 0)":                     "7",
		"rand()":                        "0.25",
		"rand(1)":                       "Line 1, Col 5: rand does not take 1 arguments",
		"sin(1)":                        "Line 1, Col 5: there is no function sin",
		"max(1, requeue)":               "Line 1, Col 5: a deallocation option is not a number",
		"1 / 0":                         "Line 1, Col 7: division by zero",
		"TimeInterval_Day / 0":          "Line 1, Col 22: division by zero",
		"1e308 * 10":                    "Line 1, Col 11: the result is not a finite number",
		"sum(1e308, 1e308)":             "Line 1, Col 5: the result is not a finite number",
		"$nothing":                      "Line 1, Col 5: the variable $nothing is not defined",
		`!"a"`:                          "Line 1, Col 6: a string is not a number",
		`"a" ? 1 : 2`:                   "Line 1, Col 5: a string is not a number",
	} {
		if got := shown(t, expression, Inputs{History: history}); got != want {
			t.Errorf("%s\n is %s\nnot %s", expression, got, want)
		}
	}
}

func TestSamplePercent(t *testing.T) {
	// The last minute has not arrived: 18 of 20 samples.
	late := lateSeries{series{CPUPercent: repeated(18, 0.5)}, time.Minute}
	for expression, want := range map[string]string{
		"len($CPUPercent.GetSample(TimeInterval_Minute * 10))":      "18",
		"len($CPUPercent.GetSample(TimeInterval_Minute * 10, 80))":  "18",
		"len($CPUPercent.GetSample(TimeInterval_Minute * 5))":       "8",
		"$CPUPercent.GetSamplePercent(TimeInterval_Minute * 10)":    "90",
		"len($CPUPercent.GetSample(TimeInterval_Minute * 10, 95))":  "Line 1, Col 21: Insufficient data from data set: $CPUPercent wanted 95%, received 90%",
		"len($CPUPercent.GetSample(TimeInterval_Minute))":           "Line 1, Col 21: Insufficient data from data set: $CPUPercent wanted more than 0%, received 0%",
		"len($RunningTasks.GetSample(TimeInterval_Minute * 9, 70))": "Line 1, Col 23: Insufficient data from data set: $RunningTasks wanted 70%, received 0%",
	} {
		if got := shown(t, expression, Inputs{History: late}); got != want {
			t.Errorf("%s\n is %s\nnot %s", expression, got, want)
		}
	}
}

// lateSeries are samples that arrive late.
type lateSeries struct {
	series
	by time.Duration
}

func (l lateSeries) Samples(variable string) []Sample {
	out := l.series.Samples(variable)
	for i := range out {
		out[i].Time = out[i].Time.Add(-l.by)
	}
	return out
}

func TestOutputs(t *testing.T) {
	for formula, want := range map[string]string{
		"$TargetDedicated = 3; $TargetDedicatedNodes = 5;":                                "$TargetDedicatedNodes=5;$TargetLowPriorityNodes=1;$NodeDeallocationOption=requeue",
		"$TargetDedicatedNodes = 5; $TargetDedicated = 3;":                                "$TargetDedicatedNodes=5;$TargetLowPriorityNodes=1;$NodeDeallocationOption=requeue",
		"$TargetLowPriority = $TargetLowPriorityNodes + 2":                                "$TargetDedicatedNodes=2;$TargetLowPriorityNodes=3;$NodeDeallocationOption=requeue",
		"$TargetDedicatedNodes = 3.8":                                                     "$TargetDedicatedNodes=3;$TargetLowPriorityNodes=1;$NodeDeallocationOption=requeue",
		"$TargetDedicatedNodes = -3.8":                                                    "$TargetDedicatedNodes=0;$TargetLowPriorityNodes=1;$NodeDeallocationOption=requeue",
		"$TARGETDEDICATEDNODES = $targetdedicated * 4":                                    "$TargetDedicatedNodes=8;$TargetLowPriorityNodes=1;$NodeDeallocationOption=requeue",
		"$NodeDeallocationOption = RetainedData":                                          "$TargetDedicatedNodes=2;$TargetLowPriorityNodes=1;$NodeDeallocationOption=retaineddata",
		"$TargetDedicatedNodes = 7; x = stop(); $TargetDedicatedNodes = 9":                "$TargetDedicatedNodes=7;$TargetLowPriorityNodes=1;$NodeDeallocationOption=requeue",
		"b = 1; $a = 2; a = 3; avg = avg(b, a); timeinterval_day = $TargetDedicatedNodes": "$TargetDedicatedNodes=2;$TargetLowPriorityNodes=1;$NodeDeallocationOption=requeue;$a=2;a=3;avg=2;b=1;timeinterval_day=2",
		"x = 1;; ; y = 2;;":                                                               "$TargetDedicatedNodes=2;$TargetLowPriorityNodes=1;$NodeDeallocationOption=requeue;x=1;y=2",
		"x = 1 // y = 2\r\n;y = 3 // end":                                                 "$TargetDedicatedNodes=2;$TargetLowPriorityNodes=1;$NodeDeallocationOption=requeue;x=1;y=3",
	} {
		r, err := evaluate(t, formula, Inputs{Dedicated: 2, LowPriority: 1})
		if err != nil {
			t.Errorf("%s: %v", formula, detail(err))
		} else if r.Text != want {
			t.Errorf("%s\n gives %s\nnot %s", formula, r.Text, want)
		}
	}
}

func TestEvaluationFails(t *testing.T) {
	for _, c := range []struct{ formula, code, detail, results string }{
		{"$something_useless", batcherr.CodeAutoScalingFormulaEvaluationError, "Line 1, Col 1: the variable $something_useless is not defined",
			"$TargetDedicatedNodes=2;$TargetLowPriorityNodes=0;$NodeDeallocationOption=requeue"},
		{"1 + 1", batcherr.CodeAutoScalingFormulaEvaluationError, "Line 1, Col 1: the value is not assigned to a variable",
			"$TargetDedicatedNodes=2;$TargetLowPriorityNodes=0;$NodeDeallocationOption=requeue"},
		{"$NodeDeallocationOption = terminate;\r\nx = $CPUPercent.GetSample(TimeInterval_Minute * 10, 10);", batcherr.CodeInsufficientSampleData,
			"Line 2, Col 17: Insufficient data from data set: $CPUPercent wanted 10%, received 0%",
			"$TargetDedicatedNodes=2;$TargetLowPriorityNodes=0;$NodeDeallocationOption=terminate"},
		{"$ActiveTasks = 1", batcherr.CodeAutoScalingFormulaEvaluationError, "Line 1, Col 1: $ActiveTasks can't be assigned to",
			"$TargetDedicatedNodes=2;$TargetLowPriorityNodes=0;$NodeDeallocationOption=requeue"},
		{`$NodeDeallocationOption = "requeue"`, batcherr.CodeAutoScalingFormulaEvaluationError,
			"Line 1, Col 1: $NodeDeallocationOption is one of requeue, terminate, taskcompletion and retaineddata",
			"$TargetDedicatedNodes=2;$TargetLowPriorityNodes=0;$NodeDeallocationOption=requeue"},
		{"$TargetDedicatedNodes = 3e9", batcherr.CodeAutoScalingFormulaEvaluationError, "Line 1, Col 1: 3000000000 nodes are too many",
			"$TargetDedicatedNodes=2;$TargetLowPriorityNodes=0;$NodeDeallocationOption=requeue"},
		{"\n  $TargetDedicatedNodes = time()", batcherr.CodeAutoScalingFormulaEvaluationError, "Line 2, Col 3: a timestamp is not a number",
			"$TargetDedicatedNodes=2;$TargetLowPriorityNodes=0;$NodeDeallocationOption=requeue"},
	} {
		r, err := evaluate(t, c.formula, Inputs{Dedicated: 2})
		if !batcherr.HasCode(err, c.code) || detail(err) != c.detail || r.Text != c.results {
			t.Errorf("%s\nfails with %v\n%s\n%s\nwant %s\n%s\n%s", c.formula, err, detail(err), r.Text, c.code, c.detail, c.results)
		}
	}
}

func TestSyntax(t *testing.T) {
	for formula, want := range map[string]string{
		"":                          "Line 1, Col 1: the formula has no statement",
		" ; // nothing\n;":          "Line 1, Col 1: the formula has no statement",
		"x = ":                      "Line 1, Col 5: expected a value, found the end of the formula",
		"x = (1":                    `Line 1, Col 7: expected ")", found the end of the formula`,
		"x = max(1,":                "Line 1, Col 11: expected a value, found the end of the formula",
		"x = max(1 2)":              `Line 1, Col 11: expected "," or ")", found 2`,
		"x = 1\ny = 2":              `Line 2, Col 1: expected an operator or ;, found "y"`,
		"x == 1 y":                  `Line 1, Col 8: expected an operator or ;, found "y"`,
		"x = 1 ? 2;":                `Line 1, Col 10: expected ":", found ";"`,
		"x = 7 % 2":                 "Line 1, Col 7: unexpected character '%'",
		"x = \"a\nb\"":              "Line 1, Col 5: the text has no closing quote in its line",
		`x = "a\n"`:                 `Line 1, Col 7: a backslash is followed by \ or "`,
		"x = 1e999":                 "Line 1, Col 5: the number 1e999 is too large",
		"x = 12ab":                  "Line 1, Col 5: a number is followed by a name",
		"$ = 1":                     "Line 1, Col 1: a name follows $",
		"é = 1":                     "Line 1, Col 1: unexpected character 'é'",
		"/* x */ x = 1":             `Line 1, Col 1: expected a value, found "/"`,
		"x = a.5":                   "Line 1, Col 6: expected an operator or ;, found 0.5",
		"x = a.(5)":                 `Line 1, Col 7: expected the name of a method or of a part, found "("`,
		"5 = x":                     `Line 1, Col 3: expected an operator or ;, found "="`,
		"x = y = 1":                 `Line 1, Col 7: expected an operator or ;, found "="`,
		strings.Repeat("x=1;", 101): "Line 1, Col 401: a formula has at most 100 statements",
		"x = " + strings.Repeat("(", 150) + "1" + strings.Repeat(")", 150): "Line 1, Col 105: expressions are nested more than 200 deep",
		"x = " + strings.Repeat("!", 300) + "1":                            "Line 1, Col 204: expressions are nested more than 200 deep",
	} {
		_, err := Parse(formula)
		if !batcherr.HasCode(err, batcherr.CodeAutoScalingFormulaSyntaxError) || detail(err) != want {
			t.Errorf("%.60q fails with %v\n    %s\nnot %s", formula, err, detail(err), want)
		}
	}
	if _, err := Parse(strings.Repeat("x=1;", 100)); err != nil {
		t.Error("100 statements:", detail(err))
	}
	if _, err := Parse("x=1//" + strings.Repeat("é", MaxLength-5)); err != nil {
		t.Error("the longest formula:", detail(err))
	}
	if _, err := Parse("x=1//" + strings.Repeat("é", MaxLength-4)); !batcherr.HasCode(err, batcherr.CodeAutoScaleFormulaTooLong) {
		t.Error("a formula that is too long:", err)
	}
}

func TestWorkIsBounded(t *testing.T) {
	doubling := "v = [1,1,1,1,1,1,1,1];" + strings.Repeat("v = [v,v];", 60)
	busy := "v = $ActiveTasks.GetSample(16384);" + strings.Repeat("w = v + v * v;", 90)
	long := series{ActiveTasks: repeated(20000, 1)}
	for formula, want := range map[string]string{
		doubling:                            "Line 1, Col 137: a vector has at most 16384 elements",
		busy:                                "the formula needs more than 1000000 operations",
		"v = $ActiveTasks.GetSample(20000)": "Line 1, Col 18: a vector has at most 16384 elements",
	} {
		_, err := evaluate(t, formula, Inputs{History: long})
		if !strings.HasSuffix(detail(err), want) || err == nil {
			t.Errorf("%.60q: %v %s\nwant %s", formula, err, detail(err), want)
		}
	}
	wide := ""
	for i := range 90 {
		wide += fmt.Sprintf("v%d = $ActiveTasks.GetSample(2000);", i)
	}
	r, err := evaluate(t, wide, Inputs{History: long})
	if err != nil || len(r.Text) > maxResults || !strings.HasSuffix(r.Text, ";…") {
		t.Errorf("results of %d bytes, %v", len(r.Text), err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f, err := Parse(busy)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Evaluate(ctx, complete(Inputs{History: long})); !strings.Contains(detail(err), "takes too long") {
		t.Errorf("after the end of its context: %v %s", err, detail(err))
	}
}
