// Package lifecycle holds the rules of pools, nodes, jobs and tasks as pure functions: states, legal transitions, ids, limits, defaults.
package lifecycle
