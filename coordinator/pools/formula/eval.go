package formula

import (
	"context"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"
)

// run is one evaluation of a formula.
type run struct {
	ctx                    context.Context
	in                     Inputs
	steps                  int
	dedicated, lowPriority target
	deallocation           word
	variables              map[string]value
}

func newRun(ctx context.Context, in Inputs) *run {
	r := &run{
		ctx: ctx, in: in, variables: map[string]value{}, deallocation: Requeue,
		dedicated: target{current: in.Dedicated}, lowPriority: target{current: in.LowPriority},
	}
	if o, ok := option(in.Deallocation); ok {
		r.deallocation = o
	}
	if r.in.Period <= 0 {
		r.in.Period = DefaultPeriod
	}
	return r
}

// work counts n operations and refuses to go on after too many, or after the end of the context.
func (r *run) work(n int, at position) error {
	const checkEvery = 1024
	before := r.steps
	r.steps += n + 1
	if r.steps > maxSteps {
		return at.errorf("the formula needs more than %d operations", maxSteps)
	}
	if before/checkEvery != r.steps/checkEvery && r.ctx.Err() != nil {
		return at.errorf("the evaluation takes too long")
	}
	return nil
}

func (r *run) statements(list []statement) error {
	for _, s := range list {
		v, err := s.value.eval(r)
		if err != nil {
			return err
		}
		if s.target == "" {
			return s.at.errorf("the value is not assigned to a variable")
		}
		if err := r.assign(s.target, v, s.at); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) assign(name string, v value, at position) error {
	v, err := r.settled(v, at)
	if err != nil {
		return err
	}
	if t, isAlias := r.output(name); t != nil {
		n, err := r.number(v, at)
		switch {
		case err != nil:
			return err
		case n > math.MaxInt32:
			return at.errorf("%s nodes are too many", showNumber(n))
		case isAlias:
			t.alias = &n
		default:
			t.full = &n
		}
		return nil
	}
	if strings.EqualFold(name, deallocation) {
		o, ok := v.(word)
		if !ok {
			return at.errorf("%s is one of %s, %s, %s and %s", deallocation, Requeue, Terminate, TaskCompletion, RetainedData)
		}
		r.deallocation = o
		return nil
	}
	if known, ok := readable(name); ok {
		return at.errorf("%s can't be assigned to", known)
	}
	r.variables[name] = v
	return nil
}

// results lists the outputs and the formula's own variables.
func (r *run) results() Results {
	out := Results{Dedicated: r.dedicated.nodes(), LowPriority: r.lowPriority.nodes(), Deallocation: string(r.deallocation)}
	var b strings.Builder
	b.WriteString(targetDedicated + "=" + strconv.Itoa(int(out.Dedicated)) + ";" + targetLowPriority + "=" + strconv.Itoa(int(out.LowPriority)))
	b.WriteString(";" + deallocation + "=" + out.Deallocation)
	names := make([]string, 0, len(r.variables))
	for name := range r.variables {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		pair := ";" + clipped(name, maxShown) + "=" + show(r.variables[name])
		if b.Len()+len(pair) > maxResults-len("…") {
			b.WriteString(";…")
			break
		}
		b.WriteString(pair)
	}
	out.Text = b.String()
	return out
}

func (x *literal) eval(*run) (value, error) { return x.value, nil }

func (x *variable) eval(r *run) (value, error) {
	if err := r.work(1, x.position); err != nil {
		return nil, err
	}
	if t, _ := r.output(x.name); t != nil {
		return t.value(), nil
	}
	if strings.EqualFold(x.name, deallocation) {
		return r.deallocation, nil
	}
	if known, ok := readable(x.name); ok {
		return metric(known), nil
	}
	if v, ok := r.variables[x.name]; ok {
		return v, nil
	}
	if d, ok := interval(x.name); ok {
		return d, nil
	}
	if o, ok := option(x.name); ok {
		return o, nil
	}
	return nil, x.errorf("the variable %s is not defined", clipped(x.name, 100))
}

// interval finds a constant of that name in any case.
func interval(name string) (time.Duration, bool) {
	const day = 24 * time.Hour
	for _, c := range [...]struct {
		name   string
		length time.Duration
	}{
		{"Zero", 0}, {"100ns", 100}, {"Microsecond", time.Microsecond}, {"Millisecond", time.Millisecond}, {"Second", time.Second},
		{"Minute", time.Minute}, {"Hour", time.Hour}, {"Day", day}, {"Week", 7 * day}, {"Year", 365 * day},
	} {
		if strings.EqualFold(name, "TimeInterval_"+c.name) {
			return c.length, true
		}
	}
	return 0, false
}

func (x *conditional) eval(r *run) (value, error) {
	c, err := r.evalNumber(x.condition)
	if err != nil {
		return nil, err
	}
	if c != 0 {
		return x.yes.eval(r)
	}
	return x.no.eval(r)
}

func (r *run) evalNumber(x expression) (float64, error) {
	if err := r.work(1, x.place()); err != nil {
		return 0, err
	}
	v, err := x.eval(r)
	if err != nil {
		return 0, err
	}
	return r.number(v, x.place())
}

func (r *run) evalAll(list []expression) ([]value, error) {
	out := make([]value, len(list))
	for i, x := range list {
		var err error
		if out[i], err = x.eval(r); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (x *vector) eval(r *run) (value, error) {
	elements, err := r.evalAll(x.elements)
	if err != nil {
		return nil, err
	}
	return r.flat(elements, x.position)
}

// flat makes one vector of numbers and vectors.
func (r *run) flat(list []value, at position) (vec, error) {
	n := 0
	for _, v := range list {
		if v, ok := v.(vec); ok {
			n += len(v)
		} else {
			n++
		}
	}
	if n > maxElements {
		return nil, at.errorf("a vector has at most %d elements", maxElements)
	}
	if err := r.work(n, at); err != nil {
		return nil, err
	}
	out := make(vec, 0, n)
	for _, v := range list {
		if v, ok := v.(vec); ok {
			out = append(out, v...)
			continue
		}
		number, err := r.number(v, at)
		if err != nil {
			return nil, err
		}
		out = append(out, number)
	}
	return out, nil
}

func (x *call) eval(r *run) (value, error) {
	f, ok := functions[strings.ToLower(x.function)]
	if !ok {
		return nil, x.errorf("there is no function %s", clipped(x.function, 100))
	}
	if n := len(x.arguments); n < f.fewest || f.most >= 0 && n > f.most {
		return nil, x.errorf("%s does not take %d arguments", strings.ToLower(x.function), n)
	}
	arguments, err := r.evalAll(x.arguments)
	if err != nil {
		return nil, err
	}
	return f.apply(r, x.position, arguments)
}

func (x *member) eval(r *run) (value, error) {
	v, err := x.object.eval(r)
	if err != nil {
		return nil, err
	}
	at, ok := v.(time.Time)
	if !ok {
		return nil, x.errorf("a %s has no part %s", typeOf(v), clipped(x.name, 100))
	}
	switch strings.ToLower(x.name) {
	case "year":
		return float64(at.Year()), nil
	case "month":
		return float64(at.Month()), nil
	case "day":
		return float64(at.Day()), nil
	case "weekday":
		return float64(at.Weekday()), nil
	case "hour":
		return float64(at.Hour()), nil
	case "minute":
		return float64(at.Minute()), nil
	case "second":
		return float64(at.Second()), nil
	}
	return nil, x.errorf("a timestamp has no part %s", clipped(x.name, 100))
}
