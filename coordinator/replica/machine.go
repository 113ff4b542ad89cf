package replica

// Machine is the replicated state that the log feeds. A Replica calls Apply, Checkpoint and Restore from one goroutine,
// in log order; AppliedIndex and Digest may be called from any goroutine.
type Machine interface {
	// Apply applies the commands of the log entry at index and records the index in the state together with their
	// effects. It returns one result per command, in order, and the running digest of the state after the entry. It must
	// be deterministic. An index at or below AppliedIndex is already in the state and must change nothing. The commands
	// may be kept but not modified.
	Apply(index uint64, commands [][]byte) (results []any, digest [32]byte)

	// AppliedIndex is the index recorded in the state, 0 in an empty state. The state itself need not be synced to
	// disk: after a crash the log supplies what is missing.
	AppliedIndex() uint64

	// Digest returns the recorded index and the running digest at that index.
	Digest() (index uint64, sum [32]byte)

	// Checkpoint writes a consistent copy of the state into dir, which does not exist yet. No entry is applied
	// meanwhile, so it should be quick: hard links rather than copies.
	Checkpoint(dir string) error

	// Restore replaces the state by the copy in dir, which it may consume. A crash in the middle must leave either the
	// old state, the new one, or an empty one with AppliedIndex 0.
	Restore(dir string) error
}
