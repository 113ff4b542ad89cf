package formula

import (
	"math"
	"sort"
	"strings"
	"time"
)

func (x *method) eval(r *run) (value, error) {
	object, err := x.object.eval(r)
	if err != nil {
		return nil, err
	}
	m, ok := object.(metric)
	if !ok {
		return nil, x.errorf("a %s has no method %s", typeOf(object), clipped(x.name, 100))
	}
	arguments, err := r.evalAll(x.arguments)
	if err != nil {
		return nil, err
	}
	for i, a := range arguments {
		if arguments[i], err = r.settled(a, x.arguments[i].place()); err != nil {
			return nil, err
		}
	}
	samples := r.in.History.Samples(string(m))
	if err := r.work(1, x.position); err != nil {
		return nil, err
	}
	switch lower := strings.ToLower(x.name); {
	case lower == "getsample" && len(arguments) > 0:
		return r.getSample(x, m, samples, arguments)
	case lower == "getsamplepercent" && len(arguments) > 0:
		return r.getSamplePercent(x, samples, arguments)
	case lower == "getsampleperiod" && len(arguments) == 0:
		return r.in.Period, nil
	case lower == "count" && len(arguments) == 0:
		return float64(len(samples)), nil
	case lower == "historybegintime" && len(arguments) == 0:
		if len(samples) == 0 {
			return nil, &shortage{fault{x.position, "Insufficient data from data set: " + string(m) + " has no samples"}}
		}
		return moment(samples[0].Time, x.position)
	}
	return nil, x.errorf("there is no method %s with %d arguments", clipped(x.name, 100), len(arguments))
}

// getSample takes the newest samples, as many as its number says, or those of a range of time. In a range there must be as many as the last
// argument says, in percent of those that could be there; where it says nothing, at least one.
func (r *run) getSample(x *method, m metric, samples []Sample, arguments []value) (value, error) {
	if !isTime(arguments[0]) {
		n, err := r.number(arguments[0], x.arguments[0].place())
		switch {
		case err != nil:
			return nil, err
		case len(arguments) > 1:
			return nil, x.errorf("GetSample takes a number alone")
		case n < 0:
			return nil, x.errorf("GetSample can't take %s samples", showNumber(n))
		}
		return r.values(samples[len(samples)-int(min(n, float64(len(samples)))):], x.position)
	}
	w, rest, err := r.window(x, arguments)
	if err != nil {
		return nil, err
	}
	found := w.of(samples)
	received := w.percent(len(found), r.in.Period)
	switch len(rest) {
	case 0:
		if len(found) == 0 {
			return nil, &shortage{fault{x.position, "Insufficient data from data set: " + string(m) + " wanted more than 0%, received 0%"}}
		}
	case 1:
		wanted, err := r.number(rest[0], x.arguments[len(arguments)-1].place())
		if err != nil {
			return nil, err
		}
		if received < wanted {
			text := "Insufficient data from data set: " + string(m) + " wanted " + percentage(wanted) + ", received " + percentage(received)
			return nil, &shortage{fault{x.position, text}}
		}
	default:
		return nil, x.errorf("GetSample takes two times and a percentage at most")
	}
	return r.values(found, x.position)
}

// percentage is written in whole percent: 66.67 is not 67 of 100.
func percentage(p float64) string { return showNumber(math.Floor(p)) + "%" }

func (r *run) getSamplePercent(x *method, samples []Sample, arguments []value) (value, error) {
	w, rest, err := r.window(x, arguments)
	switch {
	case err != nil:
		return nil, err
	case len(rest) > 0:
		return nil, x.errorf("GetSamplePercent takes one or two times")
	}
	return w.percent(len(w.of(samples)), r.in.Period), nil
}

func (r *run) values(samples []Sample, at position) (value, error) {
	if len(samples) > maxElements {
		return nil, at.errorf("a vector has at most %d elements", maxElements)
	}
	if err := r.work(len(samples), at); err != nil {
		return nil, err
	}
	out := make(vec, len(samples))
	for i, s := range samples {
		out[i] = s.Value
	}
	return out, nil
}

func isTime(v value) bool {
	switch v.(type) {
	case time.Time, time.Duration:
		return true
	}
	return false
}

// window is a range of time: after from, and up to to.
type window struct{ from, to time.Time }

// window reads one or two bounds, in either order: times, or intervals that say how long ago. It ends now where there is one bound only.
// rest are the arguments after them.
func (r *run) window(x *method, arguments []value) (w window, rest []value, err error) {
	bounds := []time.Time{r.in.Now}
	for len(arguments) > 0 && isTime(arguments[0]) && len(bounds) < 3 {
		switch a := arguments[0].(type) {
		case time.Time:
			bounds = append(bounds, a)
		case time.Duration:
			bounds = append(bounds, r.in.Now.Add(-a))
		}
		arguments = arguments[1:]
	}
	switch len(bounds) {
	case 1:
		return w, nil, x.errorf("%s takes a timestamp or a timeinterval first", clipped(x.name, 100))
	case 2:
		w = window{bounds[1], bounds[0]}
	default:
		w = window{bounds[1], bounds[2]}
	}
	if w.to.Before(w.from) {
		w.from, w.to = w.to, w.from
	}
	return w, arguments, nil
}

// of selects the samples in the window.
func (w window) of(samples []Sample) []Sample {
	first := sort.Search(len(samples), func(i int) bool { return samples[i].Time.After(w.from) })
	last := sort.Search(len(samples), func(i int) bool { return samples[i].Time.After(w.to) })
	return samples[first:last]
}

// percent compares n samples with those that the window has room for.
func (w window) percent(n int, period time.Duration) float64 {
	possible := w.to.Sub(w.from) / period
	if possible == 0 {
		return 100 * truth(n > 0)
	}
	return min(100, 100*float64(n)/float64(possible))
}
