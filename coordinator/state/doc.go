// Package state is the replicated truth: tables over Pebble and the deterministic commands that change them.
package state
