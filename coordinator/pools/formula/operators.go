package formula

import (
	"cmp"
	"math"
	"time"
)

func (x *unary) eval(r *run) (value, error) {
	v, err := x.operand.eval(r)
	if err != nil {
		return nil, err
	}
	if err := r.work(1, x.position); err != nil {
		return nil, err
	}
	if d, ok := v.(time.Duration); ok && x.operator == "-" {
		return r.span(-float64(d), x.position)
	}
	n, err := r.number(v, x.operand.place())
	switch {
	case err != nil:
		return nil, err
	case x.operator == "-":
		return -n, nil
	default:
		return truth(n == 0), nil
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (x *binary) eval(r *run) (value, error) {
	if x.operator == "&&" || x.operator == "||" {
		n, err := r.evalNumber(x.left)
		if err != nil || (n != 0) == (x.operator == "||") {
			return truth(n != 0), err
		}
		n, err = r.evalNumber(x.right)
		return truth(n != 0), err
	}
	a, err := x.left.eval(r)
	if err != nil {
		return nil, err
	}
	b, err := x.right.eval(r)
	if err != nil {
		return nil, err
	}
	if a, err = r.settled(a, x.left.place()); err != nil {
		return nil, err
	}
	if b, err = r.settled(b, x.right.place()); err != nil {
		return nil, err
	}
	return r.operate(x, a, b)
}

// operate applies an operator as the language's table of operand types says.
func (r *run) operate(x *binary, a, b value) (value, error) {
	if err := r.work(1, x.position); err != nil {
		return nil, err
	}
	v, isVector := a.(vec)
	if isVector && isArithmetic(x.operator) {
		return r.elementwise(x, v, b)
	}
	// Everywhere else a vector of one element is a number.
	a, b = single(a), single(b)
	var out value
	var err error
	switch a := a.(type) {
	case float64:
		out, err = r.fromNumber(x, a, b)
	case time.Duration:
		out, err = r.fromInterval(x, a, b)
	case time.Time:
		out, err = r.fromTimestamp(x, a, b)
	case string:
		if b, ok := b.(string); ok {
			out = compare(x.operator, cmp.Compare(a, b))
		}
	}
	if out == nil && err == nil {
		err = x.errorf("%s %s %s is not defined", typeOf(a), x.operator, typeOf(b))
	}
	return out, err
}

func isArithmetic(operator string) bool {
	return operator == "+" || operator == "-" || operator == "*" || operator == "/"
}

func single(v value) value {
	if v, ok := v.(vec); ok && len(v) == 1 {
		return v[0]
	}
	return v
}

// compare answers a comparison; nil where the operator is none.
func compare(operator string, order int) value {
	switch operator {
	case "<":
		return truth(order < 0)
	case "<=":
		return truth(order <= 0)
	case "==":
		return truth(order == 0)
	case ">=":
		return truth(order >= 0)
	case ">":
		return truth(order > 0)
	case "!=":
		return truth(order != 0)
	}
	return nil
}

func (r *run) fromNumber(x *binary, a float64, b value) (value, error) {
	switch b := b.(type) {
	case float64:
		if isArithmetic(x.operator) {
			return calculate(x, a, b)
		}
		return compare(x.operator, cmp.Compare(a, b)), nil
	case time.Duration:
		if x.operator == "*" {
			return r.span(a*float64(b), x.position)
		}
	}
	return nil, nil
}

func calculate(x *binary, a, b float64) (value, error) {
	switch x.operator {
	case "+":
		a += b
	case "-":
		a -= b
	case "*":
		a *= b
	default:
		if b == 0 {
			return nil, x.errorf("division by zero")
		}
		a /= b
	}
	return finite(a, x.position)
}

func (r *run) fromInterval(x *binary, a time.Duration, b value) (value, error) {
	switch b := b.(type) {
	case float64:
		switch {
		case x.operator == "*":
			return r.span(float64(a)*b, x.position)
		case x.operator == "/" && b == 0:
			return nil, x.errorf("division by zero")
		case x.operator == "/":
			return r.span(float64(a)/b, x.position)
		}
	case time.Duration:
		switch x.operator {
		case "+":
			return r.span(float64(a)+float64(b), x.position)
		case "-":
			return r.span(float64(a)-float64(b), x.position)
		}
		return compare(x.operator, cmp.Compare(a, b)), nil
	case time.Time:
		if x.operator == "+" {
			return moment(b.Add(a), x.position)
		}
	}
	return nil, nil
}

func (r *run) fromTimestamp(x *binary, a time.Time, b value) (value, error) {
	switch b := b.(type) {
	case time.Duration:
		if x.operator == "+" {
			return moment(a.Add(b), x.position)
		}
		if x.operator == "-" {
			return nil, x.errorf("a timeinterval can't be subtracted from a timestamp: add a negative one")
		}
	case time.Time:
		if x.operator == "-" {
			seconds := float64(a.Unix()-b.Unix()) * float64(time.Second)
			return r.span(seconds+float64(a.Nanosecond()-b.Nanosecond()), x.position)
		}
		return compare(x.operator, a.Compare(b)), nil
	}
	return nil, nil
}

// span makes an interval of nanoseconds.
func (r *run) span(nanoseconds float64, at position) (value, error) {
	if math.IsNaN(nanoseconds) || math.Abs(nanoseconds) >= math.MaxInt64 {
		return nil, at.errorf("a timeinterval is at most 292 years long")
	}
	return time.Duration(nanoseconds), nil
}

// moment refuses times that can't be written.
func moment(t time.Time, at position) (value, error) {
	if t = t.UTC(); t.Year() < 1 || t.Year() > 9999 {
		return nil, at.errorf("a timestamp lies in the years 1 to 9999")
	}
	return t, nil
}

// elementwise applies an arithmetic operator to each element of a and to b, or to b's element at the same place.
func (r *run) elementwise(x *binary, a vec, b value) (value, error) {
	if err := r.work(len(a), x.position); err != nil {
		return nil, err
	}
	var other func(int) float64
	switch b := single(b).(type) {
	case float64:
		other = func(int) float64 { return b }
	case vec:
		if len(a) != len(b) {
			return nil, x.errorf("vectors of %d and %d elements do not go together", len(a), len(b))
		}
		other = func(i int) float64 { return b[i] }
	default:
		return nil, x.errorf("doubleVec %s %s is not defined", x.operator, typeOf(b))
	}
	out := make(vec, len(a))
	for i, n := range a {
		v, err := calculate(x, n, other(i))
		if err != nil {
			return nil, err
		}
		out[i] = v.(float64)
	}
	return out, nil
}
