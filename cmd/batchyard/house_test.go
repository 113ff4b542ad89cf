package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every package says in one sentence what it is for.
func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := 0
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() {
			return nil
		}
		if name := d.Name(); path != root && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata" || name == "results" || name == "shared") {
			return fs.SkipDir
		}
		comments, files := packageComments(t, path)
		if files == 0 {
			return nil
		}
		seen++
		if len(comments) != 1 {
			t.Errorf("%s has %d package comments: %q", path, len(comments), comments)
			return nil
		}
		if fault := sentenceFault(comments[0]); fault != "" {
			t.Errorf("%s: its package comment %s: %q", path, fault, comments[0])
		}
		return nil
	}))
	require.Greater(t, seen, 30, "the whole tree was seen")
}

// packageComments gives the comments of the package in a directory, and of how many of its files; generated code brings none of its own.
func packageComments(t *testing.T, dir string) (comments []string, files int) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") || strings.HasSuffix(e.Name(), ".pb.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, parser.ParseComments|parser.PackageClauseOnly)
		require.NoError(t, err)
		if ast.IsGenerated(f) {
			continue
		}
		files++
		if f.Doc != nil {
			comments = append(comments, strings.Join(strings.Fields(f.Doc.Text()), " "))
		}
	}
	return comments, files
}

func sentenceFault(text string) string {
	switch {
	case !strings.HasPrefix(text, "Package ") && !strings.HasPrefix(text, "Command "):
		return "does not begin with Package or Command"
	case !strings.HasSuffix(text, "."):
		return "is no sentence"
	case strings.Contains(strings.TrimSuffix(text, "."), ". "):
		return "is more than one sentence"
	}
	return ""
}

func TestSentenceFault(t *testing.T) {
	for text, good := range map[string]bool{
		"Package x does y.": true, "Command x does y: z.": true, "Package x does y": false, "Package x does y. And z.": false, "x": false,
	} {
		require.Equal(t, good, sentenceFault(text) == "", text)
	}
}
