package formula

import "strconv"

// statement assigns an expression to a variable. Where target is empty the expression stands alone, which fails when it is evaluated.
type statement struct {
	target string
	at     position
	value  expression
}

// expression is a node of a formula's tree.
type expression interface {
	eval(r *run) (value, error)
	place() position
}

type (
	literal struct {
		position
		value value
	}
	variable struct {
		position
		name string
	}
	unary struct {
		position
		operator string
		operand  expression
	}
	binary struct {
		position
		operator    string
		left, right expression
	}
	conditional struct {
		position
		condition, yes, no expression
	}
	// vector is written in square brackets.
	vector struct {
		position
		elements []expression
	}
	call struct {
		position
		function  string
		arguments []expression
	}
	// method is called on a service's variable.
	method struct {
		position
		object    expression
		name      string
		arguments []expression
	}
	// member is a part of a timestamp.
	member struct {
		position
		object expression
		name   string
	}
)

func (p position) place() position { return p }

type parser struct {
	tokens []token
	depth  int
}

func parse(formula string) ([]statement, error) {
	tokens, err := lex(formula)
	if err != nil {
		return nil, err
	}
	p := parser{tokens: tokens}
	var out []statement
	for {
		for p.accept(";") {
		}
		if p.peek().kind == end {
			break
		}
		if len(out) == MaxStatements {
			return nil, p.peek().at.errorf("a formula has at most %d statements", MaxStatements)
		}
		s, err := p.statement()
		if err != nil {
			return nil, err
		}
		out = append(out, s)
		if p.peek().kind != end && !p.accept(";") {
			return nil, p.unexpected("an operator or ;")
		}
	}
	if len(out) == 0 {
		return nil, position{1, 1}.errorf("the formula has no statement")
	}
	return out, nil
}

func (p *parser) peek() token { return p.tokens[0] }

func (p *parser) take() token {
	t := p.tokens[0]
	if t.kind != end {
		p.tokens = p.tokens[1:]
	}
	return t
}

// accept takes the symbol if it is next.
func (p *parser) accept(s string) bool {
	if t := p.peek(); t.kind != symbol || t.text != s {
		return false
	}
	p.take()
	return true
}

func (p *parser) unexpected(wanted string) error {
	return p.peek().at.errorf("expected %s, found %s", wanted, p.peek())
}

func (p *parser) expect(s string) error {
	if !p.accept(s) {
		return p.unexpected(strconv.Quote(s))
	}
	return nil
}

func (p *parser) statement() (statement, error) {
	s := statement{at: p.peek().at}
	if len(p.tokens) > 1 && p.peek().kind == name && p.tokens[1].kind == symbol && p.tokens[1].text == "=" {
		s.target = p.take().text
		p.take()
	}
	var err error
	s.value, err = p.expression()
	return s, err
}

// enter counts expressions within expressions; what it returns is to be called at the end.
func (p *parser) enter() (leave func(), err error) {
	p.depth++
	leave = func() { p.depth-- }
	if p.depth > maxDepth {
		return leave, p.peek().at.errorf("expressions are nested more than %d deep", maxDepth)
	}
	return leave, nil
}

// expression reads a conditional expression, which binds least.
func (p *parser) expression() (expression, error) {
	leave, err := p.enter()
	defer leave()
	if err != nil {
		return nil, err
	}
	condition, err := p.binary(0)
	if err != nil {
		return nil, err
	}
	at := p.peek().at
	if !p.accept("?") {
		return condition, nil
	}
	yes, err := p.expression()
	if err != nil {
		return nil, err
	}
	if err := p.expect(":"); err != nil {
		return nil, err
	}
	no, err := p.expression()
	if err != nil {
		return nil, err
	}
	return &conditional{at, condition, yes, no}, nil
}

// binaryOperators bind the more tightly the later they come.
var binaryOperators = [...][]string{{"||"}, {"&&"}, {"==", "!="}, {"<", "<=", ">", ">="}, {"+", "-"}, {"*", "/"}}

func (p *parser) binary(level int) (expression, error) {
	if level == len(binaryOperators) {
		return p.unary()
	}
	left, err := p.binary(level + 1)
	if err != nil {
		return nil, err
	}
	for {
		at := p.peek().at
		operator, ok := p.acceptAny(binaryOperators[level])
		if !ok {
			return left, nil
		}
		right, err := p.binary(level + 1)
		if err != nil {
			return nil, err
		}
		left = &binary{at, operator, left, right}
	}
}

func (p *parser) acceptAny(list []string) (string, bool) {
	for _, s := range list {
		if p.accept(s) {
			return s, true
		}
	}
	return "", false
}

func (p *parser) unary() (expression, error) {
	leave, err := p.enter()
	defer leave()
	if err != nil {
		return nil, err
	}
	at := p.peek().at
	if operator, ok := p.acceptAny([]string{"-", "!"}); ok {
		operand, err := p.unary()
		return &unary{at, operator, operand}, err
	}
	x, err := p.primary()
	for err == nil && p.accept(".") {
		x, err = p.member(x)
	}
	return x, err
}

func (p *parser) member(object expression) (expression, error) {
	t := p.peek()
	if t.kind != name {
		return nil, p.unexpected("the name of a method or of a part")
	}
	p.take()
	if !p.accept("(") {
		return &member{t.at, object, t.text}, nil
	}
	arguments, err := p.list(")")
	return &method{t.at, object, t.text, arguments}, err
}

func (p *parser) primary() (expression, error) {
	t := p.peek()
	switch t.kind {
	case number:
		p.take()
		return &literal{t.at, t.number}, nil
	case text:
		p.take()
		return &literal{t.at, t.text}, nil
	case name:
		p.take()
		if !p.accept("(") {
			return &variable{t.at, t.text}, nil
		}
		arguments, err := p.list(")")
		return &call{t.at, t.text, arguments}, err
	}
	switch {
	case p.accept("("):
		x, err := p.expression()
		if err != nil {
			return nil, err
		}
		return x, p.expect(")")
	case p.accept("["):
		elements, err := p.list("]")
		return &vector{t.at, elements}, err
	}
	return nil, p.unexpected("a value")
}

// list reads expressions up to the closing bracket.
func (p *parser) list(closing string) ([]expression, error) {
	if p.accept(closing) {
		return nil, nil
	}
	var out []expression
	for {
		x, err := p.expression()
		if err != nil {
			return nil, err
		}
		out = append(out, x)
		if p.accept(closing) {
			return out, nil
		}
		if !p.accept(",") {
			return nil, p.unexpected(strconv.Quote(",") + " or " + strconv.Quote(closing))
		}
	}
}
