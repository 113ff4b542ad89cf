package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/internal/client"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// Limits of what a shell waits for when it completes a word.
const (
	completionTimeout = time.Second
	completionLimit   = 200
)

type completionFunc = func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective)

// idSource finds ids for an argument, given the arguments before it.
type idSource func(ctx context.Context, s *session, args []string) ([]string, error)

// completeIDs completes the first argument from the first source, and so on; the last source serves all that follow.
func completeIDs(f *factory, sources ...idSource) completionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		at := len(args)
		if at >= len(sources) {
			if !strings.HasSuffix(cmd.Use, "...") {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			at = len(sources) - 1
		}
		return find(cmd.Context(), f, sources[at], args, toComplete)
	}
}

// completeFlag completes the value of a flag.
func completeFlag(f *factory, source idSource) completionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		return find(cmd.Context(), f, source, args, toComplete)
	}
}

func find(ctx context.Context, f *factory, source idSource, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	s, err := f.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	defer s.Close()
	ids, err := source(ctx, s, args)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var found []string
	for _, id := range ids {
		if strings.HasPrefix(strings.ToLower(id), strings.ToLower(prefix)) {
			found = append(found, id)
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

func completeContexts(f *factory) completionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		path, err := client.ContextPath(f.getenv)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		all, err := client.LoadContexts(path)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []string
		for _, c := range all.Contexts {
			names = append(names, c.Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

func poolIDs(ctx context.Context, s *session, _ []string) ([]string, error) {
	pools, _, err := collect(ctx, listFlags{limit: completionLimit}, s.listPools)
	return idsOf(pools), err
}

func jobIDs(ctx context.Context, s *session, _ []string) ([]string, error) {
	jobs, _, err := collect(ctx, listFlags{limit: completionLimit}, s.listJobs(""))
	return idsOf(jobs), err
}

func scheduleIDs(ctx context.Context, s *session, _ []string) ([]string, error) {
	schedules, _, err := collect(ctx, listFlags{limit: completionLimit}, s.listSchedules)
	return idsOf(schedules), err
}

func nodeIDs(ctx context.Context, s *session, args []string) ([]string, error) {
	nodes, _, err := collect(ctx, listFlags{limit: completionLimit}, s.listNodes(args[0]))
	return idsOf(nodes), err
}

func taskIDs(ctx context.Context, s *session, args []string) ([]string, error) {
	tasks, _, err := collect(ctx, listFlags{limit: completionLimit}, s.listTasks(args[0]))
	return idsOf(tasks), err
}

func appIDs(ctx context.Context, s *session, _ []string) ([]string, error) {
	resp, err := s.apps.ListApplications(ctx, &apiv1.ListApplicationsRequest{})
	return idsOf(resp.GetApplications()), err
}

func idsOf[T interface{ GetId() string }](items []T) []string {
	ids := make([]string, len(items))
	for i, item := range items {
		ids[i] = item.GetId()
	}
	return ids
}
