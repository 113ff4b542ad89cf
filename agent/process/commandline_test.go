package process

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestSplitPOSIX(t *testing.T) {
	for line, want := range map[string][]string{
		`/bin/true`:                      {"/bin/true"},
		"  a \t b\n c  ":                 {"a", "b", "c"},
		`/bin/sh -c 'echo $HOME; ls *'`:  {"/bin/sh", "-c", "echo $HOME; ls *"},
		`echo $HOME * ~ a&&b`:            {"echo", "$HOME", "*", "~", "a&&b"},
		`a "b c"d'e f'`:                  {"a", "b cde f"},
		`a "say \"hi\" \\ \n"`:           {"a", `say "hi" \ \n`},
		`a\ b c\\d \"`:                   {"a b", `c\d`, `"`},
		`a '' ""`:                        {"a", "", ""},
		`sh -c "awk '{print $1}'"`:       {"sh", "-c", "awk '{print $1}'"},
		"echo 'line one\nline two' ünïc": {"echo", "line one\nline two", "ünïc"},
	} {
		argv, err := SplitPOSIX(line)
		require.NoError(t, err, line)
		require.Equal(t, want, argv, line)
	}
}

func TestSplitPOSIXRefuses(t *testing.T) {
	for line, want := range map[string]error{
		"": ErrEmptyCommand, " \t\n": ErrEmptyCommand, "''": ErrEmptyCommand, `"" a`: ErrEmptyCommand,
		"a 'b": ErrUnbalancedQuote, `a "b`: ErrUnbalancedQuote, `a "b\"`: ErrUnbalancedQuote, `a \`: ErrUnbalancedQuote,
		"a\x00b": ErrNUL, "'\x00'": ErrNUL,
	} {
		_, err := SplitPOSIX(line)
		require.ErrorIs(t, err, want, "%q", line)
	}
}

// The cases are those of the documentation of CommandLineToArgvW and of the C runtime.
func TestSplitWindows(t *testing.T) {
	for line, want := range map[string][]string{
		`a "b c" d`:                     {"a", "b c", "d"},
		`a "ab\"c" "\\" d`:              {"a", `ab"c`, `\`, "d"},
		`a a\\\b d"e f"g h`:             {"a", `a\\\b`, "de fg", "h"},
		`a a\\\"b c d`:                  {"a", `a\"b`, "c", "d"},
		`a a\\\\"b c" d e`:              {"a", `a\\b c`, "d", "e"},
		`a "a""b"`:                      {"a", `a"b`},
		`"C:\Program Files\x.exe" /q`:   {`C:\Program Files\x.exe`, "/q"},
		`C:\dir\ /q`:                    {`C:\dir\`, "/q"},
		`cmd /c echo %PATH% && dir *.c`: {"cmd", "/c", "echo", "%PATH%", "&&", "dir", "*.c"},
		`a ""`:                          {"a", ""},
	} {
		argv, err := SplitWindows(line)
		require.NoError(t, err, line)
		require.Equal(t, want, argv, line)
	}
	for line, want := range map[string]error{
		"": ErrEmptyCommand, " \t": ErrEmptyCommand, `"" a`: ErrEmptyCommand,
		`"a`: ErrUnbalancedQuote, `a "b`: ErrUnbalancedQuote, "a\x00": ErrNUL,
	} {
		_, err := SplitWindows(line)
		require.ErrorIs(t, err, want, "%q", line)
	}
}

func arguments() *rapid.Generator[[]string] {
	arg := rapid.StringOf(rapid.OneOf(rapid.SampledFrom([]rune(" \t\n\\\"'$*%^&|a")), rapid.Rune())).
		Filter(func(s string) bool {
			for i := range len(s) {
				if s[i] == 0 {
					return false
				}
			}
			return true
		})
	return rapid.SliceOfN(arg, 0, 6)
}

func TestQuotingRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		argv := append([]string{"program"}, arguments().Draw(t, "arguments")...)
		got, err := SplitPOSIX(QuotePOSIX(argv))
		require.NoError(t, err)
		require.Equal(t, argv, got)

		argv[0] = `C:\Program Files\it's.exe`
		line, err := QuoteWindows(argv)
		require.NoError(t, err)
		got, err = SplitWindows(line)
		require.NoError(t, err)
		require.Equal(t, argv, got, line)
	})
}

func TestQuoteWindowsRefuses(t *testing.T) {
	for _, c := range []struct {
		argv []string
		want error
	}{
		{nil, ErrEmptyCommand}, {[]string{""}, ErrEmptyCommand},
		{[]string{`a"b`}, ErrUnbalancedQuote}, {[]string{"a", "b\x00"}, ErrNUL},
	} {
		_, err := QuoteWindows(c.argv)
		require.ErrorIs(t, err, c.want)
	}
}

func FuzzSplitPOSIX(f *testing.F) {
	f.Add(`/bin/sh -c 'echo "a b" \c'`)
	f.Fuzz(func(t *testing.T, line string) {
		argv, err := SplitPOSIX(line)
		if err != nil {
			return
		}
		again, err := SplitPOSIX(QuotePOSIX(argv))
		require.NoError(t, err)
		require.Equal(t, argv, again)
	})
}

func FuzzSplitWindows(f *testing.F) {
	f.Add(`"C:\Program Files\x.exe" a\\\"b "c d\\" e""f`)
	f.Fuzz(func(t *testing.T, line string) {
		argv, err := SplitWindows(line)
		if err != nil {
			return
		}
		quoted, err := QuoteWindows(argv)
		require.NoError(t, err)
		again, err := SplitWindows(quoted)
		require.NoError(t, err)
		require.Equal(t, argv, again)
	})
}
