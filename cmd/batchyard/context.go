package main

import (
	"encoding/json"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	"github.com/batchyard/batchyard/internal/client"
)

func newContextCommand(f *factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "context",
		Short: "Which cluster the commands talk to",
		Long: `Contexts say how to reach clusters. They are kept in ~/.config/batchyard/contexts.yaml, readable by its owner only;
"batchyard dev" writes one. These variables of the environment win over the current context:

  BATCHYARD_CONFIG   path of the context file
  BATCHYARD_CONTEXT  name of the context to use
  BATCHYARD_ADDRESS  host:port of the coordinators, separated by commas; no context is used then
  BATCHYARD_TOKEN    token to call with
  BATCHYARD_CA       path of a PEM file with the cluster's authority

The flag --context wins over all of them.`,
		Example: "  batchyard context list\n  batchyard context use dev",
	}
	cmd.AddCommand(newContextListCommand(f), newContextUseCommand(f), newContextShowCommand(f))
	return cmd
}

// shownContext is a context without its secret.
type shownContext struct {
	Name      string   `json:"name"`
	Current   bool     `json:"current"`
	Addresses []string `json:"addresses"`
	Account   string   `json:"account,omitempty"`
	HTTPS     string   `json:"https,omitempty"`
}

func shown(c client.Context, current string) shownContext {
	return shownContext{Name: c.Name, Current: c.Name == current, Addresses: c.Addresses, Account: c.Account, HTTPS: c.HTTPS}
}

func newContextListCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List contexts",
		Example: "  batchyard context list",
		Args:    exactly(0),
		RunE: func(*cobra.Command, []string) error {
			all, _, err := f.contexts()
			if err != nil {
				return err
			}
			contexts := make([]shownContext, len(all.Contexts))
			table := render.NewTable("CURRENT", "NAME", "ADDRESSES", "ACCOUNT", "HTTPS")
			for i, c := range all.Contexts {
				contexts[i] = shown(c, all.Current)
				mark := " "
				if contexts[i].Current {
					mark = "*"
				}
				table.Row(mark, c.Name, strings.Join(c.Addresses, ","), c.Account, c.HTTPS)
			}
			return f.showPlain(contexts, func(w io.Writer) error {
				_, err := table.WriteTo(w)
				return err
			})
		},
	}
}

func newContextUseCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:               "use NAME",
		Short:             "Make a context the current one",
		Example:           "  batchyard context use dev",
		Args:              exactly(1),
		ValidArgsFunction: completeContexts(f),
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := client.ContextPath(f.getenv)
			if err != nil {
				return err
			}
			if err := client.UseContext(path, args[0]); err != nil {
				return usage(err)
			}
			return f.say("context %s is current", render.Plain(args[0]))
		},
	}
}

func newContextShowCommand(f *factory) *cobra.Command {
	return &cobra.Command{
		Use:               "show [NAME]",
		Short:             "Show a context, without its token",
		Example:           "  batchyard context show",
		Args:              between(0, 1),
		ValidArgsFunction: completeContexts(f),
		RunE: func(_ *cobra.Command, args []string) error {
			name := f.contextName
			if len(args) > 0 {
				name = args[0]
			}
			c, err := client.ResolveContext(f.getenv, name)
			if err != nil {
				return usage(err)
			}
			all, path, err := f.contexts()
			if err != nil {
				return err
			}
			return f.showPlain(shown(c, all.Current), func(w io.Writer) error {
				return render.Fields(w, "Name", c.Name, "Current", yesNo(c.Name == all.Current), "Addresses", strings.Join(c.Addresses, ", "),
					"Account", c.Account, "REST API", c.HTTPS, "Token", yesNo(c.Token != ""), "File", path)
			})
		},
	}
}

func (f *factory) contexts() (client.Contexts, string, error) {
	path, err := client.ContextPath(f.getenv)
	if err != nil {
		return client.Contexts{}, "", err
	}
	all, err := client.LoadContexts(path)
	if err != nil {
		return all, path, usage(err)
	}
	return all, path, nil
}

// showPlain prints what is not a message: as people do for people, as JSON, which is YAML as well, for programs.
func (f *factory) showPlain(v any, people func(io.Writer) error) error {
	if f.forPeople() {
		return people(f.out)
	}
	encoder := json.NewEncoder(f.out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
