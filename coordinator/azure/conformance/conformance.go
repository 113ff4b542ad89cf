// Package conformance drives a cluster with the official Azure Batch clients, unmodified, and tabulates which operations work with which.
package conformance

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Client is one of the official clients and the program that drives a cluster with it.
type Client struct {
	Name    string // as in the reports
	list    string // in the directory clients: names the version
	command []string
	program string
}

// Clients are the clients in the order of the table; scripts/test-clients installs them.
func Clients() []Client {
	return []Client{
		{Name: "azure-batch 15 (Python)", list: "python15.txt", command: []string{"bin/python"}, program: "track2.py"},
		{Name: "azure-batch 14 (Python)", list: "python14.txt", command: []string{"bin/python"}, program: "track1.py"},
		{Name: "@azure/batch 10 (JavaScript)", list: "js10.json", command: []string{"node"}, program: "js10.mjs"},
	}
}

// dir is where the client is installed, below the directory of all.
func (c Client) dir(clients string) string {
	return filepath.Join(clients, strings.TrimSuffix(c.list, filepath.Ext(c.list)))
}

// Installed says whether the version of the client that is named here is installed below clients.
func (c Client) Installed(clients string) bool {
	want, err := os.ReadFile(filepath.Join("clients", c.list))
	if err != nil {
		return false
	}
	got, err := os.ReadFile(filepath.Join(c.dir(clients), "installed"))
	return err == nil && bytes.Equal(got, want)
}

// Account is how a cluster is reached, as the variables that the programs read.
type Account []string

// Run drives the account's cluster with a client that is installed below clients; the programs lie in programs. A cluster that fails
// operations is no error; a program that reports nothing, or ends before its end, is.
func (c Client) Run(ctx context.Context, clients, programs string, account Account) ([]Result, error) {
	dir := c.dir(clients)
	name := c.command[0]
	if strings.Contains(name, "/") {
		name = filepath.Join(dir, name)
	}
	command := exec.CommandContext(ctx, name, append(c.command[1:], filepath.Join(programs, c.program))...)
	command.Dir = dir
	command.Env = append(os.Environ(), append(account, "PYTHONDONTWRITEBYTECODE=1")...)
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
