package formula

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// value is one of float64, vec, string, time.Time, time.Duration, metric and word. Numbers are always finite.
type value any

type (
	vec []float64
	// metric is a variable of the service: a number where one is needed, else something to ask for samples.
	metric string
	// word is a deallocation option.
	word string
)

func typeOf(v value) string {
	switch v.(type) {
	case float64, metric:
		return "double"
	case vec:
		return "doubleVec"
	case string:
		return "string"
	case time.Time:
		return "timestamp"
	case time.Duration:
		return "timeinterval"
	default:
		return "deallocation option"
	}
}

// number makes a double of v: a vector of one element is as good as one, and so is a metric.
func (r *run) number(v value, at position) (float64, error) {
	switch v := v.(type) {
	case float64:
		return v, nil
	case vec:
		if len(v) == 1 {
			return v[0], nil
		}
		return 0, at.errorf("a vector of %d elements is not a number", len(v))
	case metric:
		if latest, ok := r.in.History.Latest(string(v)); ok {
			return latest, nil
		}
		return 0, &shortage{fault{at, "Insufficient data from data set: " + string(v) + " has no samples"}}
	default:
		return 0, at.errorf("a %s is not a number", typeOf(v))
	}
}

// settled makes a number of a metric and leaves all else as it is.
func (r *run) settled(v value, at position) (value, error) {
	if _, ok := v.(metric); ok {
		return r.number(v, at)
	}
	return v, nil
}

// finite refuses what is no number.
func finite(n float64, at position) (value, error) {
	if math.IsNaN(n) || math.IsInf(n, 0) {
		return nil, at.errorf("the result is not a finite number")
	}
	return n, nil
}

// show writes a value as results have it.
func show(v value) string {
	switch v := v.(type) {
	case float64:
		return showNumber(v)
	case vec:
		return showVector(v)
	case string:
		return clipped(strconv.Quote(v), maxShown)
	case time.Time:
		return v.UTC().Format("2006-01-02T15:04:05.000Z")
	case time.Duration:
		return showInterval(v)
	case word:
		return string(v)
	default:
		return ""
	}
}

func showNumber(n float64) string {
	if n == 0 {
		return "0" // and not -0
	}
	format := byte('f')
	if math.Abs(n) >= 1e15 || math.Abs(n) < 1e-6 {
		format = 'g'
	}
	return strconv.FormatFloat(n, format, -1, 64)
}

func showVector(v vec) string {
	var b strings.Builder
	b.WriteByte('[')
	for i, n := range v {
		if i > 0 {
			b.WriteByte(',')
		}
		if b.Len() > maxShown {
			b.WriteString("…")
			break
		}
		b.WriteString(showNumber(n))
	}
	b.WriteByte(']')
	return b.String()
}

// showInterval writes days.hours:minutes:seconds.fraction; days and fraction only where there are any.
func showInterval(d time.Duration) string {
	const day = 24 * time.Hour
	var b strings.Builder
	rest := uint64(d)
	if d < 0 {
		b.WriteByte('-')
		rest = -rest
	}
	if days := rest / uint64(day); days > 0 {
		b.WriteString(strconv.FormatUint(days, 10) + ".")
		rest %= uint64(day)
	}
	b.WriteString(time.Unix(0, int64(rest)).UTC().Format("15:04:05"))
	if fraction := rest % uint64(time.Second) / 100; fraction > 0 {
		digits := strconv.FormatUint(fraction, 10)
		b.WriteString("." + strings.Repeat("0", 7-len(digits)) + digits)
	}
	return b.String()
}
