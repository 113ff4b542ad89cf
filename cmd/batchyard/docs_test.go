package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/cli.md and docs/properties.md anew")

const docsHead = `# The command line

<!-- Written by: make generate -->

This page lists every command of ` + "`batchyard`" + `. The same is printed by ` + "`batchyard COMMAND --help`" + `.
Shells complete commands, flags and ids after ` + "`source <(batchyard completion bash)`" + ` (or zsh, fish, powershell).

Durations are written like ` + "`90s`, `10m`, `2h30m` or in ISO 8601 like `PT10M`, `P1D`" + `. ` + "`--output json|yaml`" + ` prints whole resources in
the spelling of Azure Batch, which ` + "`--file`" + ` of the commands that create reads back.

`

// TestDocs keeps docs/cli.md equal to what the commands say of themselves.
func TestDocs(t *testing.T) {
	root := newRootCommand(&factory{getenv: func(string) string { return "" }})
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	var b strings.Builder
	b.WriteString(docsHead)
	fmt.Fprintf(&b, "## Flags of all commands\n\n%s\n", fence(root.PersistentFlags().FlagUsages()))
	documentAll(&b, root)
	path := filepath.Join("..", "..", "docs", "cli.md")
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o644))
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, b.String(), string(got), "run: make generate")
}

func documentAll(b *strings.Builder, cmd *cobra.Command) {
	for _, child := range cmd.Commands() {
		if child.Hidden || child.Name() == "help" {
			continue
		}
		document(b, child)
		if child.Name() != "completion" {
			documentAll(b, child)
		}
	}
}

func document(b *strings.Builder, cmd *cobra.Command) {
	level := "##"
	if cmd.Parent().HasParent() {
		level = "###"
	}
	fmt.Fprintf(b, "%s %s\n\n", level, cmd.CommandPath())
	if cmd.IsAdditionalHelpTopicCommand() {
		fmt.Fprintf(b, "%s.\n\n%s\n", cmd.Short, fence(cmd.Long))
		return
	}
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	fmt.Fprintf(b, "%s\n\n", strings.TrimSpace(text))
	if !cmd.HasSubCommands() {
		b.WriteString(fence(cmd.UseLine()) + "\n")
	}
	if usages := cmd.LocalFlags().FlagUsages(); hasFlags(cmd) {
		b.WriteString(fence(usages) + "\n")
	}
	if cmd.Example != "" {
		fmt.Fprintf(b, "Examples:\n\n%s\n", fence(cmd.Example))
	}
}

func hasFlags(cmd *cobra.Command) bool {
	found := false
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) { found = found || !f.Hidden && f.Name != "help" })
	return found
}

func fence(text string) string { return "```\n" + strings.TrimRight(text, "\n ") + "\n```\n" }

// TestEveryCommandHasExamples holds all commands to the same help.
func TestEveryCommandHasExamples(t *testing.T) {
	root := newRootCommand(&factory{getenv: func(string) string { return "" }})
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		if cmd.Hidden || cmd.IsAdditionalHelpTopicCommand() {
			return
		}
		require.NotEmpty(t, cmd.Short, cmd.CommandPath())
		require.NotEmpty(t, cmd.Example, "%s has no example", cmd.CommandPath())
		for line := range strings.Lines(cmd.Example) {
			require.True(t, strings.HasPrefix(line, "  "), "%s: example %q is not indented", cmd.CommandPath(), line)
		}
		for _, child := range cmd.Commands() {
			check(child)
		}
	}
	check(root)
}
