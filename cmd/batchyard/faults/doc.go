// Package faults holds the whole-program tests of clusters in trouble: real coordinators, agents and tasks that are killed, paused, cut off or out of disk.
package faults
