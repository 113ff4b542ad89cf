// Package process starts, limits, signals and reaps the commands of tasks, in a supervisor process that outlives the agent.
package process
