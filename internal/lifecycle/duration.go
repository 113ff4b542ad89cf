package lifecycle

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Unlimited is the duration that stands for "no limit". Azure Batch writes it as P10675199DT2H48M5.4775807S.
const Unlimited = time.Duration(math.MaxInt64)

const unlimitedText = "P10675199DT2H48M5.4775807S"

const day = 24 * time.Hour

// ParseDuration reads an ISO 8601 duration (P1DT2H3M4.5S, P2W; a year is 365 days and a month 30, as Azure Batch counts). Only the
// seconds may have a fraction, of at most 9 digits. A duration of more than 292 years is Unlimited. A negative one is an error.
func ParseDuration(text string) (time.Duration, error) {
	rest, found := strings.CutPrefix(text, "P")
	if !found {
		return 0, fmt.Errorf("duration %q: must begin with P, as in PT15M", abbreviate(text))
	}
	datePart, timePart, hasTime := strings.Cut(rest, "T")
	total, n, err := parseUnits(datePart, "YMWD", []time.Duration{365 * day, 30 * day, 7 * day, day})
	if err != nil {
		return 0, fmt.Errorf("duration %q: %w", abbreviate(text), err)
	}
	if hasTime {
		t, m, err := parseUnits(timePart, "HMS", []time.Duration{time.Hour, time.Minute, time.Second})
		if err != nil {
			return 0, fmt.Errorf("duration %q: %w", abbreviate(text), err)
		}
		if m == 0 {
			return 0, fmt.Errorf("duration %q: nothing follows T", abbreviate(text))
		}
		n += m
		total = addSaturated(total, t)
	}
	if n == 0 {
		return 0, fmt.Errorf("duration %q: has no parts", abbreviate(text))
	}
	return total, nil
}

// parseUnits reads number-unit pairs whose units come in the order of units; it returns the sum and the number of pairs.
func parseUnits(text, units string, sizes []time.Duration) (time.Duration, int, error) {
	var total time.Duration
	n := 0
	for text != "" {
		end := strings.IndexFunc(text, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if end <= 0 {
			return 0, 0, fmt.Errorf("expected a number and a unit at %q", abbreviate(text))
		}
		at := strings.IndexByte(units, text[end])
		if at < 0 {
			return 0, 0, fmt.Errorf("unit %q is unknown, repeated or out of order", text[end:end+1])
		}
		value, err := scale(text[:end], sizes[at], units[at] == 'S')
		if err != nil {
			return 0, 0, err
		}
		total = addSaturated(total, value)
		text, units, sizes = text[end+1:], units[at+1:], sizes[at+1:]
		n++
	}
	return total, n, nil
}

func scale(number string, size time.Duration, fraction bool) (time.Duration, error) {
	whole, frac, dotted := strings.Cut(number, ".")
	if dotted && (!fraction || frac == "" || len(frac) > 9 || strings.Contains(frac, ".")) {
		return 0, fmt.Errorf("%q is not a number that fits its unit", abbreviate(number))
	}
	if whole == "" {
		return 0, fmt.Errorf("%q has no digit before the point", abbreviate(number))
	}
	var nanos int64
	if dotted {
		var err error
		if nanos, err = strconv.ParseInt(frac+strings.Repeat("0", 9-len(frac)), 10, 64); err != nil {
			return 0, fmt.Errorf("%q is not a number", abbreviate(number))
		}
	}
	count, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || count > int64(Unlimited)/int64(size) {
		return Unlimited, nil //nolint:nilerr // more digits than fit: longer than any limit
	}
	return addSaturated(time.Duration(count)*size, time.Duration(nanos)), nil
}

func addSaturated(a, b time.Duration) time.Duration {
	if a > Unlimited-b {
		return Unlimited
	}
	return a + b
}

// FormatDuration writes a duration as Azure Batch answers it: days, hours, minutes and seconds without superfluous zeros.
// Negative durations have no such form and are written as PT0S.
func FormatDuration(d time.Duration) string {
	if d == Unlimited {
		return unlimitedText
	}
	if d <= 0 {
		return "PT0S"
	}
	var b strings.Builder
	b.WriteByte('P')
	if days := d / day; days > 0 {
		fmt.Fprintf(&b, "%dD", days)
	}
	d %= day
	if d == 0 {
		return b.String()
	}
	b.WriteByte('T')
	if h := d / time.Hour; h > 0 {
		fmt.Fprintf(&b, "%dH", h)
	}
	if m := d % time.Hour / time.Minute; m > 0 {
		fmt.Fprintf(&b, "%dM", m)
	}
	if s := d % time.Minute; s > 0 {
		b.WriteString(strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%d.%09d", s/time.Second, s%time.Second), "0"), "."))
		b.WriteByte('S')
	}
	return b.String()
}

func abbreviate(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
