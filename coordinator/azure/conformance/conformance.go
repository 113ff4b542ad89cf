// Package conformance drives a cluster with the official Azure Batch clients, unmodified, and tabulates which operations work with which.
package conformance

import (
	"bufio"
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed *.py *.mjs
var programs embed.FS

// Client is one of the official clients and the program that drives a cluster with it.
type Client struct {
	Name    string // as in the reports
	install []string
	run     []string
}

// Clients are the clients in the order of the table. Installing them needs Python 3, Node.js and their registries.
func Clients() []Client {
	python := func(name, requirement, program string) Client {
		return Client{
			Name:    name,
			install: []string{"sh", "-c", "python3 -m venv venv && venv/bin/pip --quiet install " + requirement},
			run:     []string{"venv/bin/python", program},
		}
	}
	return []Client{
		python("azure-batch 15 (Python)", "azure-batch==15.1.0", "track2.py"),
		python("azure-batch 14 (Python)", "azure-batch==14.2.0", "track1.py"),
		{
			Name:    "@azure/batch 10 (JavaScript)",
			install: []string{"sh", "-c", "echo '{\"private\":true}' > package.json && npm install --silent --no-audit --no-fund @azure/batch@10.2.0"},
			run:     []string{"node", "js10.mjs"},
		},
	}
}

// Account is how a cluster is reached.
type Account struct {
	Name     string
	Key      string // base64
	Endpoint string
}

// Install puts the client and its program into dir, an empty directory.
func (c Client) Install(ctx context.Context, dir string) error {
	names, err := fs.Glob(programs, "*")
	if err != nil {
		return fmt.Errorf("list programs: %w", err)
	}
	for _, name := range names {
		data, err := programs.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read program: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return fmt.Errorf("write program: %w", err)
		}
	}
	command := exec.CommandContext(ctx, c.install[0], c.install[1:]...)
	command.Dir = dir
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("install %s: %w: %s", c.Name, err, out)
	}
	return nil
}

// Run drives the account's cluster from dir, where the client is installed. A cluster that fails operations is no error; a
// program that reports nothing, or ends before its end, is.
func (c Client) Run(ctx context.Context, dir string, account Account) ([]Result, error) {
	command := exec.CommandContext(ctx, c.run[0], c.run[1:]...)
	command.Dir = dir
	command.Env = append(os.Environ(), "AZURE_BATCH_ACCOUNT="+account.Name, "AZURE_BATCH_ACCESS_KEY="+account.Key,
		"AZURE_BATCH_ENDPOINT="+account.Endpoint, "PYTHONDONTWRITEBYTECODE=1")
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	runErr := command.Run()
	results, err := ParseResults(&out)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	var exit *exec.ExitError
	failed := errors.As(runErr, &exit) && exit.ExitCode() == 1
	if runErr != nil && !failed || len(results) == 0 || results[len(results)-1].Operation != lastOperation {
		return results, fmt.Errorf("%s: %w: %s", c.Name, errors.Join(errEnded, runErr, ctx.Err()), errs.String())
	}
	return results, nil
}

var errEnded = errors.New("the program ended early")

// lastOperation is what every program ends with.
const lastOperation = "Pools_DeletePool"

// Result is what a client found out about an operation.
type Result struct {
	Operation string
	Client    string
	Passed    bool
	Reason    string
}

// ParseResults reads lines of operation, client, pass or fail, and reason, separated by tabs.
func ParseResults(r io.Reader) ([]Result, error) {
	var results []Result
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.SplitN(lines.Text(), "\t", 4)
		if len(fields) != 4 || fields[2] != "pass" && fields[2] != "fail" {
			return nil, fmt.Errorf("not a line of a report: %q", lines.Text())
		}
		results = append(results, Result{Operation: fields[0], Client: fields[1], Passed: fields[2] == "pass", Reason: fields[3]})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	return results, nil
}
