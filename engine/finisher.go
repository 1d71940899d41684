package engine

// A Finisher is a [Beginning] that can have COMMIT travel with the last statements of its transaction, where these are the
// library's own and nobody looks at their results. That saves a round trip.
type Finisher interface {
	// Finishes reports that Finish can be called.
	Finishes() bool
	// Finish executes statements, whose arguments are strings, and commits. If a statement fails, nothing is committed, and
	// the transaction is over. before says of an error that COMMIT was certainly not executed.
	Finish(last []Statement) (before bool, err error)
}
