package filter

import (
	"strings"
	"time"
)

type literalKind uint8

const (
	literalNull literalKind = iota
	literalString
	literalInt
	literalReal
	literalBool
	literalTime
)

type literal struct {
	kind    literalKind
	text    string // of strings and times
	integer int64
	real    float64 // of integers too
	truth   bool
	time    time.Time
}

type operator uint8

const (
	opEq operator = iota
	opNe
	opGt
	opGe
	opLt
	opLe
	opStartsWith
	opEndsWith
	opContains
)

func comparison(word token) (operator, bool) {
	for op, name := range [...]string{"eq", "ne", "gt", "ge", "lt", "le"} {
		if word.is(name) {
			return operator(op), true
		}
	}
	return 0, false
}

// mirrored is the operator for swapped operands.
func (op operator) mirrored() operator {
	switch op {
	case opGt:
		return opLt
	case opGe:
		return opLe
	case opLt:
		return opGt
	case opLe:
		return opGe
	default:
		return op
	}
}

// parser is recursive descent: or, and, unary, primary.
type parser struct {
	lexer lexer
	token token // the next one, not consumed
	depth int
	terms int
}

func (p *parser) advance() error {
	t, err := p.lexer.next()
	p.token = t
	return err
}

func (p *parser) or() (expression, error) {
	return p.joined("or", p.and, func(parts []expression) expression { return anyOf(parts) })
}

func (p *parser) and() (expression, error) {
	return p.joined("and", p.unary, func(parts []expression) expression { return allOf(parts) })
}

func (p *parser) joined(word string, part func() (expression, error), join func([]expression) expression) (expression, error) {
	first, err := part()
	if err != nil || !p.token.is(word) {
		return first, err
	}
	parts := []expression{first}
	for p.token.is(word) {
		if err := p.advance(); err != nil {
			return nil, err
		}
		next, err := part()
		if err != nil {
			return nil, err
		}
		parts = append(parts, next)
	}
	return join(parts), nil
}

func (p *parser) unary() (expression, error) {
	if p.depth++; p.depth > MaxDepth {
		return nil, fail(p.token.at, "nested deeper than %d", MaxDepth)
	}
	defer func() { p.depth-- }()
	switch {
	case p.token.is("not"):
		if err := p.advance(); err != nil {
			return nil, err
		}
		inner, err := p.unary()
		if err != nil {
			return nil, err
		}
		return negation{inner}, nil
	case p.token.kind == tokenOpen:
		if err := p.advance(); err != nil {
			return nil, err
		}
		inner, err := p.or()
		if err != nil {
			return nil, err
		}
		return inner, p.expect(tokenClose, "a closing parenthesis")
	default:
		return p.term()
	}
}

func (p *parser) expect(kind tokenKind, what string) error {
	if p.token.kind != kind {
		return fail(p.token.at, "expected %s, not %s", what, p.token)
	}
	return p.advance()
}

// term reads a comparison, a function, or a property that is true or false.
func (p *parser) term() (expression, error) {
	if p.terms++; p.terms > MaxTerms {
		return nil, fail(p.token.at, "more than %d comparisons", MaxTerms)
	}
	left := p.token
	if left.kind != tokenWord && left.kind != tokenLiteral {
		return nil, fail(left.at, "expected a property, not %s", left)
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if left.kind == tokenWord && p.token.kind == tokenOpen {
		return p.function(left)
	}
	op, ok := comparison(p.token)
	if !ok {
		if left.kind == tokenWord && (p.token.kind == tokenEnd || p.token.kind == tokenClose || p.token.is("and") || p.token.is("or")) {
			return newTerm(left, opEq, literal{kind: literalBool, truth: true}, left.at)
		}
		return nil, fail(p.token.at, "expected eq, ne, gt, ge, lt or le, not %s", p.token)
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	right := p.token
	switch {
	case left.kind == tokenWord && right.kind == tokenLiteral:
	case left.kind == tokenLiteral && right.kind == tokenWord:
		left, right, op = right, left, op.mirrored()
	default:
		return nil, fail(right.at, "expected a comparison of a property and a literal, not %s", right)
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	return newTerm(left, op, right.value, right.at)
}

// function reads the arguments of startswith, endswith, contains and substringof, and "eq true" or "eq false" after them.
func (p *parser) function(name token) (expression, error) {
	ops := map[string]operator{"startswith": opStartsWith, "endswith": opEndsWith, "contains": opContains, "substringof": opContains}
	op, ok := ops[strings.ToLower(name.text)]
	if !ok {
		return nil, fail(name.at, "unknown function %s", name)
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	first := p.token
	if err := p.advance(); err != nil {
		return nil, err
	}
	if err := p.expect(tokenComma, "a comma"); err != nil {
		return nil, err
	}
	second := p.token
	if err := p.advance(); err != nil {
		return nil, err
	}
	if name.is("substringof") {
		first, second = second, first
	}
	if first.kind != tokenWord || second.kind != tokenLiteral || second.value.kind != literalString {
		return nil, fail(name.at, "%s needs a property and a text in quotes", strings.ToLower(name.text))
	}
	if err := p.expect(tokenClose, "a closing parenthesis"); err != nil {
		return nil, err
	}
	t, err := newTerm(first, op, second.value, second.at)
	if err != nil {
		return nil, err
	}
	return p.truth(t)
}

func (p *parser) truth(t expression) (expression, error) {
	op, ok := comparison(p.token)
	if !ok {
		return t, nil
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	v := p.token
	if v.kind != tokenLiteral || v.value.kind != literalBool || op > opNe {
		return nil, fail(v.at, "a function can only be compared with eq or ne and true or false")
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if v.value.truth == (op == opEq) {
		return t, nil
	}
	return negation{t}, nil
}
