package stage

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// pattern is an output file's pattern, relative to the task's directory. It is pure: it says which names it matches and
// which directories may hold such names.
type pattern struct {
	elements []element
	fold     bool // letters match in either case
}

// element matches one element of a name, or any number of directories.
type element struct {
	anyDirs bool
	tokens  []token
}

type token struct {
	kind    tokenKind
	r       rune
	negated bool
	ranges  []runeRange
}

type tokenKind uint8

const (
	one   tokenKind = iota // the rune r
	any1                   // any rune
	many                   // any runes
	class                  // a rune in, or not in, ranges
)

type runeRange struct{ from, to rune }

// maxPattern is the longest pattern, in bytes, after its variables are expanded.
const maxPattern = 4096

// newPattern reads a pattern whose variables are expanded. Relative patterns are relative to work, the working directory;
// absolute ones must lie in task, the directory above it, which nothing may lead out of.
func newPattern(text, task, work string, windows bool) (pattern, error) {
	switch {
	case text == "":
		return pattern{}, errors.New("it is empty")
	case len(text) > maxPattern:
		return pattern{}, fmt.Errorf("it is longer than %d bytes", maxPattern)
	case strings.ContainsRune(text, 0) || !utf8.ValidString(text):
		return pattern{}, errors.New("it has a NUL in it or is not UTF-8")
	}
	if windows {
		text = strings.ReplaceAll(text, `\`, "/")
	}
	literal, rest, err := anchor(text, filepath.ToSlash(task), filepath.ToSlash(work), windows)
	if err != nil {
		return pattern{}, err
	}
	p := pattern{fold: windows}
	for _, name := range literal {
		p.elements = append(p.elements, literalElement(name))
	}
	for part := range strings.SplitSeq(rest, "/") {
		if err := p.add(part); err != nil {
			return pattern{}, err
		}
	}
	if len(p.elements) == 0 {
		return pattern{}, errors.New("it names the task's directory and no file; add a file name or a wildcard")
	}
	if p.elements[len(p.elements)-1].anyDirs {
		p.elements = append(p.elements, element{tokens: []token{{kind: many}}})
	}
	return p, nil
}

// anchor splits a pattern into the directory it starts from, relative to the task's directory and literal whatever
// characters it has, and the rest.
func anchor(text, task, work string, windows bool) (literal []string, rest string, err error) {
	within := func(dir string) (string, bool) {
		n := len(dir)
		same := strings.HasPrefix(text, dir) || windows && len(text) >= n && strings.EqualFold(text[:n], dir)
		return strings.TrimPrefix(text[min(n, len(text)):], "/"), same && (len(text) == n || text[n] == '/')
	}
	wd := strings.Trim(strings.TrimPrefix(work, task), "/")
	if rest, ok := within(work); ok {
		return strings.Split(wd, "/"), rest, nil
	}
	if rest, ok := within(task); ok {
		return nil, rest, nil
	}
	drive := windows && len(text) >= 2 && text[1] == ':'
	if strings.HasPrefix(text, "/") || drive {
		return nil, "", errors.New("it is absolute and not in the task's directory; use a path relative to the working directory")
	}
	return strings.Split(wd, "/"), text, nil
}

func (p *pattern) add(part string) error {
	switch part {
	case "", ".":
		return nil
	case "..":
		last := len(p.elements) - 1
		if last < 0 {
			return errors.New("it leads out of the task's directory")
		}
		if _, literal := p.elements[last].literal(); !literal {
			return errors.New(`it has ".." after a wildcard`)
		}
		p.elements = p.elements[:last]
		return nil
	case "**":
		if n := len(p.elements); n == 0 || !p.elements[n-1].anyDirs {
			p.elements = append(p.elements, element{anyDirs: true})
		}
		return nil
	}
	p.elements = append(p.elements, element{tokens: tokenize(part)})
	return nil
}

func literalElement(name string) element {
	tokens := make([]token, 0, len(name))
	for _, r := range name {
		tokens = append(tokens, token{r: r})
	}
	return element{tokens: tokens}
}

func tokenize(part string) []token {
	var tokens []token
	for part != "" {
		r, size := utf8.DecodeRuneInString(part)
		switch r {
		case '*':
			if n := len(tokens); n == 0 || tokens[n-1].kind != many {
				tokens = append(tokens, token{kind: many})
			}
		case '?':
			tokens = append(tokens, token{kind: any1})
		case '[':
			if t, rest, ok := bracket(part[size:]); ok {
				tokens, part = append(tokens, t), rest
				continue
			}
			tokens = append(tokens, token{r: r})
		default:
			tokens = append(tokens, token{r: r})
		}
		part = part[size:]
	}
	return tokens
}

// bracket reads what follows an opening bracket; without a closing one the opening one stands for itself. A first ]
// stands for itself too. Brackets round one character are that character, which is how wildcards are escaped.
func bracket(s string) (token, string, bool) {
	t := token{kind: class}
	if strings.HasPrefix(s, "!") {
		t.negated, s = true, s[1:]
	}
	for first := true; ; first = false {
		from, size := utf8.DecodeRuneInString(s)
		if size == 0 {
			return token{}, "", false
		}
		s = s[size:]
		if from == ']' && !first {
			break
		}
		to := from
		if end, endSize := utf8.DecodeRuneInString(strings.TrimPrefix(s, "-")); strings.HasPrefix(s, "-") && endSize > 0 && end != ']' {
			to, s = end, s[1+endSize:]
		}
		t.ranges = append(t.ranges, runeRange{from, to})
	}
	if len(t.ranges) == 1 && t.ranges[0].from == t.ranges[0].to && !t.negated {
		return token{r: t.ranges[0].from}, s, true
	}
	return t, s, true
}

// literal gives the only name that the element matches.
func (e element) literal() (string, bool) {
	if e.anyDirs {
		return "", false
	}
	var b strings.Builder
	for _, t := range e.tokens {
		if t.kind != one {
			return "", false
		}
		b.WriteRune(t.r)
	}
	return b.String(), true
}

// wild says whether the pattern may match several names.
func (p pattern) wild() bool {
	return slices.ContainsFunc(p.elements, func(e element) bool { _, literal := e.literal(); return !literal })
}

// base is how many directories at the beginning of every matching name are literal.
func (p pattern) base() int {
	for i, e := range p.elements {
		if _, literal := e.literal(); !literal || i == len(p.elements)-1 {
			return i
		}
	}
	return 0
}

// places is a set of positions in a pattern: how far a name has been matched, in all ways at once.
type places []int

func (p pattern) start() places { return p.close(nil, 0) }

// close adds position i and those that "**" standing for no directory leads on to.
func (p pattern) close(set places, i int) places {
	for !slices.Contains(set, i) {
		set = append(set, i)
		if i < len(p.elements) && p.elements[i].anyDirs {
			i++
		}
	}
	return set
}

// step goes from a directory to one of its entries.
func (p pattern) step(at places, name string) places {
	var next places
	for _, i := range at {
		switch {
		case i == len(p.elements):
		case p.elements[i].anyDirs:
			if !strings.HasPrefix(name, ".") {
				next = p.close(next, i)
			}
		case p.elements[i].matches(name, p.fold):
			next = p.close(next, i+1)
		}
	}
	return next
}

// matched says whether a name that led here is matched as a whole.
func (p pattern) matched(at places) bool { return slices.Contains(at, len(p.elements)) }

// open says whether names below a directory that led here may be matched.
func (p pattern) open(at places) bool {
	return slices.ContainsFunc(at, func(i int) bool { return i < len(p.elements) })
}

// only gives the single name that can lead on from here, so that a directory need not be read.
func (p pattern) only(at places) (string, bool) {
	if len(at) != 1 || at[0] == len(p.elements) || p.fold {
		return "", false
	}
	return p.elements[at[0]].literal()
}

// match says whether the pattern matches a name relative to the task's directory.
func (p pattern) match(name string) bool {
	at := p.start()
	for element := range strings.SplitSeq(name, "/") {
		at = p.step(at, element)
	}
	return p.matched(at)
}

// matches compares one element; a leading dot is matched by a dot alone, and a name that is not UTF-8, which no object
// can have, by nothing.
func (e element) matches(name string, fold bool) bool {
	if !utf8.ValidString(name) {
		return false
	}
	runes := []rune(name)
	if len(runes) > 0 && runes[0] == '.' && (len(e.tokens) == 0 || e.tokens[0].kind != one) {
		return false
	}
	// star is the last "*" seen, and seen what it has swallowed up to.
	t, r, star, seen := 0, 0, -1, 0
	for r < len(runes) {
		switch {
		case t < len(e.tokens) && e.tokens[t].kind == many:
			star, seen = t, r
			t++
		case t < len(e.tokens) && e.tokens[t].matches(runes[r], fold):
			t++
			r++
		case star >= 0:
			seen++
			t, r = star+1, seen
		default:
			return false
		}
	}
	for t < len(e.tokens) && e.tokens[t].kind == many {
		t++
	}
	return t == len(e.tokens)
}

func (t token) matches(r rune, fold bool) bool {
	if fold {
		return t.is(unicode.ToLower(r)) || t.is(unicode.ToUpper(r)) || t.is(r)
	}
	return t.is(r)
}

func (t token) is(r rune) bool {
	switch t.kind {
	case one:
		return t.r == r
	case any1:
		return true
	case class:
		in := slices.ContainsFunc(t.ranges, func(x runeRange) bool { return x.from <= r && r <= x.to })
		return in != t.negated
	default:
		return false
	}
}
