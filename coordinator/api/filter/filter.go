// Package filter reads OData $filter expressions and matches resources against them.
package filter

import (
	"errors"
	"fmt"
	"sync/atomic"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Limits of an expression; more is a SyntaxError. Blanks count.
const (
	MaxLength = 16 << 10 // bytes
	MaxDepth  = 64       // nested parentheses and nots
	MaxTerms  = 1000     // comparisons and functions
)

// SyntaxError says where and why a text is not a filter, or not one for the listed resource.
type SyntaxError struct {
	Position int // bytes from the start of the text
	Reason   string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s at position %d", e.Reason, e.Position)
}

func fail(position int, format string, args ...any) *SyntaxError {
	return &SyntaxError{Position: position, Reason: fmt.Sprintf(format, args...)}
}

// Filter is a parsed expression: comparisons (eq ne gt ge lt le) and startswith, endswith, contains and substringof over
// property paths (executionInfo/exitCode), joined with and, or, not and parentheses. A nil Filter matches everything. It is
// safe for concurrent use.
//
// Properties go by their names in REST, enum values by their spelling in REST in any case, times as datetime'...', durations as
// 'PT5M'. A property that a resource lacks equals only null; no order comparison and no function holds for it. A path
// through a list holds if it holds for any element.
type Filter struct {
	root  expression
	bound atomic.Pointer[matcher]
}

// matcher is a filter compiled for one kind of resource.
type matcher struct {
	desc protoreflect.MessageDescriptor
	test test
	err  error
}

// Parse reads an expression; blank text gives nil, which matches everything. Errors are *SyntaxError.
func Parse(text string) (*Filter, error) {
	if len(text) > MaxLength {
		return nil, fail(MaxLength, "the filter is longer than %d bytes", MaxLength)
	}
	p := &parser{lexer: lexer{text: text}}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.token.kind == tokenEnd {
		return nil, nil
	}
	root, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.token.kind != tokenEnd {
		return nil, fail(p.token.at, "expected and, or or the end, not %s", p.token)
	}
	return &Filter{root: root}, nil
}

// Check says whether every property exists in desc and fits what it is compared with. Errors are *SyntaxError.
func (f *Filter) Check(desc protoreflect.MessageDescriptor) error {
	if f == nil {
		return nil
	}
	return f.bind(desc).err
}

// Match says whether the filter holds for m; it never does where Check gives an error.
func (f *Filter) Match(m proto.Message) bool {
	if f == nil {
		return true
	}
	r := m.ProtoReflect()
	b := f.bind(r.Descriptor())
	return b.err == nil && b.test(r)
}

func (f *Filter) bind(desc protoreflect.MessageDescriptor) *matcher {
	if b := f.bound.Load(); b != nil && b.desc == desc {
		return b
	}
	b := &matcher{desc: desc}
	t, err := f.root.compile(desc)
	if err != nil {
		b.err = err
	}
	b.test = t
	f.bound.Store(b)
	return b
}

// IsSyntax says whether err says that a filter is wrong, and how.
func IsSyntax(err error) (*SyntaxError, bool) {
	return errors.AsType[*SyntaxError](err)
}
