package process

import "strings"

// SplitWindows splits a command line as CommandLineToArgvW and the Microsoft C runtime do: space and tab separate; the
// program's name ends at its closing quote or at white space and knows no escapes; in arguments backslashes count only
// before a double quote, where 2n of them make n and 2n+1 make n and a literal quote; a doubled quote inside quotes is a
// literal one. Unlike those, it refuses a line that ends inside quotes.
func SplitWindows(line string) ([]string, error) {
	if strings.IndexByte(line, 0) >= 0 {
		return nil, ErrNUL
	}
	line = strings.TrimLeft(line, " \t")
	if line == "" {
		return nil, ErrEmptyCommand
	}
	program, rest, ok := windowsProgram(line)
	if !ok {
		return nil, ErrUnbalancedQuote
	}
	argv := []string{program}
	for {
		rest = strings.TrimLeft(rest, " \t")
		if rest == "" {
			return checkProgram(argv)
		}
		var arg string
		if arg, rest, ok = windowsArgument(rest); !ok {
			return nil, ErrUnbalancedQuote
		}
		argv = append(argv, arg)
	}
}

func windowsProgram(line string) (program, rest string, ok bool) {
	quoted := false
	var b strings.Builder
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ' ' || c == '\t'):
			return b.String(), line[i:], true
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), "", !quoted
}

func windowsArgument(line string) (arg, rest string, ok bool) {
	var b strings.Builder
	quoted, slashes := false, 0
	flush := func(n int) {
		for ; n > 0; n-- {
			b.WriteByte('\\')
		}
		slashes = 0
	}
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch c {
		case '\\':
			slashes++
			continue
		case '"':
			literal := slashes%2 == 1
			flush(slashes / 2)
			switch {
			case literal:
				b.WriteByte('"')
			case quoted && i+1 < len(line) && line[i+1] == '"':
				b.WriteByte('"')
				i++
			default:
				quoted = !quoted
			}
			continue
		}
		flush(slashes)
		if !quoted && (c == ' ' || c == '\t') {
			return b.String(), line[i:], true
		}
		b.WriteByte(c)
	}
	flush(slashes)
	return b.String(), "", !quoted
}

// QuoteWindows writes a command line that SplitWindows, and with it any program of the Microsoft C runtime, splits into argv
// again. It is the only way in which this project makes a Windows command line. A program's name cannot contain a
// double quote; one that does is an error of kind ErrUnbalancedQuote.
func QuoteWindows(argv []string) (string, error) {
	if _, err := checkProgram(argv); err != nil {
		return "", err
	}
	for _, arg := range argv {
		if strings.IndexByte(arg, 0) >= 0 {
			return "", ErrNUL
		}
	}
	if strings.IndexByte(argv[0], '"') >= 0 {
		return "", ErrUnbalancedQuote
	}
	var b strings.Builder
	// Always quoted: a program's path with a space must not be read as a shorter one.
	b.WriteByte('"')
	b.WriteString(argv[0])
	b.WriteByte('"')
	for _, arg := range argv[1:] {
		b.WriteByte(' ')
		quoteWindowsArgument(&b, arg)
	}
	return b.String(), nil
}

func quoteWindowsArgument(b *strings.Builder, arg string) {
	if arg != "" && !strings.ContainsAny(arg, " \t\n\v\"") {
		b.WriteString(arg)
		return
	}
	b.WriteByte('"')
	slashes := 0
	for i := 0; i < len(arg); i++ {
		c := arg[i]
		if c == '\\' {
			slashes++
			continue
		}
		if c == '"' {
			// Twice the backslashes before it, and one for the quote itself.
			slashes = 2*slashes + 1
		}
		b.WriteString(strings.Repeat(`\`, slashes))
		slashes = 0
		b.WriteByte(c)
	}
	b.WriteString(strings.Repeat(`\`, 2*slashes))
	b.WriteByte('"')
}
