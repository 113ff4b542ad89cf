package formula

import (
	"math"
	"slices"
	"time"
)

// function is one that formulas call.
type function struct {
	fewest, most int // arguments; most is -1 where there is no limit
	apply        func(r *run, at position, arguments []value) (value, error)
}

// functions by their names in lower case.
var functions = map[string]function{
	"avg":   aggregate(1, func(v vec) float64 { return sum(v) / float64(len(v)) }),
	"len":   aggregate(0, func(v vec) float64 { return float64(len(v)) }),
	"max":   aggregate(1, slices.Max),
	"min":   aggregate(1, slices.Min),
	"norm":  aggregate(0, norm),
	"range": aggregate(1, func(v vec) float64 { return slices.Max(v) - slices.Min(v) }),
	"std":   aggregate(1, deviation),
	"sum":   aggregate(0, sum),

	"lg":    each(math.Log2),
	"ln":    each(math.Log),
	"log":   each(math.Log10),
	"ceil":  each(math.Ceil),
	"floor": each(math.Floor),
	"round": each(math.Round),

	"vec": {0, -1, func(r *run, at position, arguments []value) (value, error) { return r.flat(arguments, at) }},

	"percentile": {2, 2, percentile},
	"val":        {2, 2, element},

	"rand": {0, 0, func(r *run, _ position, _ []value) (value, error) { return r.in.Rand(), nil }},
	"stop": {0, 0, func(*run, position, []value) (value, error) { return nil, errStop }},
	"time": {0, 1, timeFunction},
}

// aggregate makes one number of all arguments, of which there must be as many elements as fewest says.
func aggregate(fewest int, of func(vec) float64) function {
	return function{0, -1, func(r *run, at position, arguments []value) (value, error) {
		v, err := r.flat(arguments, at)
		if err != nil {
			return nil, err
		}
		if len(v) < fewest {
			return nil, at.errorf("there are no values to choose from or to add up")
		}
		return finite(of(v), at)
	}}
}

// each applies a function to a number, or else to every element of all arguments.
func each(of func(float64) float64) function {
	return function{1, -1, func(r *run, at position, arguments []value) (value, error) {
		v, err := r.flat(arguments, at)
		if err != nil {
			return nil, err
		}
		for i, n := range v {
			if _, err := finite(of(n), at); err != nil {
				return nil, err
			}
			v[i] = of(n)
		}
		if _, isVector := arguments[0].(vec); len(arguments) == 1 && !isVector {
			return v[0], nil
		}
		return v, nil
	}}
}

func sum(v vec) float64 {
	total := 0.0
	for _, n := range v {
		total += n
	}
	return total
}

// norm is the length of the vector.
func norm(v vec) float64 {
	length := 0.0
	for _, n := range v {
		length = math.Hypot(length, n)
	}
	return length
}

// deviation is the standard deviation of a sample; that of a single value is 0.
func deviation(v vec) float64 {
	if len(v) == 1 {
		return 0
	}
	mean := sum(v) / float64(len(v))
	squares := 0.0
	for _, n := range v {
		squares += (n - mean) * (n - mean)
	}
	return math.Sqrt(squares / float64(len(v)-1))
}

// withNumber takes apart the arguments of a function of a vector and a number.
func (r *run) withNumber(at position, arguments []value) (vec, float64, error) {
	v, err := r.flat(arguments[:1], at)
	if err != nil {
		return nil, 0, err
	}
	n, err := r.number(arguments[1], at)
	return v, n, err
}

// percentile is the smallest element that p percent of all elements do not exceed.
func percentile(r *run, at position, arguments []value) (value, error) {
	v, p, err := r.withNumber(at, arguments)
	switch {
	case err != nil:
		return nil, err
	case len(v) == 0:
		return nil, at.errorf("there are no values to choose from or to add up")
	case p < 0 || p > 100:
		return nil, at.errorf("a percentile is from 0 to 100, not %s", showNumber(p))
	}
	slices.Sort(v)
	rank := int(math.Ceil(p / 100 * float64(len(v))))
	return v[max(rank, 1)-1], nil
}

// element is the one at a place that is counted from 0.
func element(r *run, at position, arguments []value) (value, error) {
	v, i, err := r.withNumber(at, arguments)
	switch {
	case err != nil:
		return nil, err
	case i < 0 || i >= float64(len(v)):
		return nil, at.errorf("a vector of %d elements has none at %s", len(v), showNumber(i))
	}
	return v[int(i)], nil
}

// timeFormats are those of W3C-DTF, and RFC 1123. Where a time has no zone it is in UTC.
var timeFormats = []string{
	"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02", "2006-01", "2006",
	"Mon, 02 Jan 2006 15:04:05 GMT", time.RFC1123Z,
}

func timeFunction(r *run, at position, arguments []value) (value, error) {
	if len(arguments) == 0 {
		return r.in.Now.UTC(), nil
	}
	written, ok := arguments[0].(string)
	if !ok {
		return nil, at.errorf("a %s can't be read as a time", typeOf(arguments[0]))
	}
	if written == "" {
		return r.in.Now.UTC(), nil
	}
	for _, format := range timeFormats {
		if t, err := time.Parse(format, written); err == nil {
			return moment(t, at)
		}
	}
	return nil, at.errorf("%q is not a time such as 2006-01-02T15:04:05Z", clipped(written, 100))
}
