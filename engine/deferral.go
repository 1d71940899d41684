package engine

// A Deferrer is a [Session] that can commit first and make durable afterwards, so that many commits share one sync. The library
// asks for it where other callers write, too.
//
//	Defer → COMMIT, or one statement by itself → Restore → the connection goes back, and the writer's turn → durable → answer
//
// Between COMMIT and the sync, other connections see what is committed. No caller is told of it before durable has returned.
type Deferrer interface {
	// Defer is called before a transaction that may write, or a statement that is a transaction by itself. crowded says that other
	// callers write, too. own says that the connection must stay as the program has set it: it is a caller's own, or the text may
	// change its settings, or a transaction is open. In any other case none is. alone is why the transaction shares no sync; nil if
	// it does. An error says that nothing can be made durable for now: nothing must be written then.
	Defer(crowded, own bool) (alone *string, err error)
	// Restore is called after each Defer, when no transaction is open. durable returns when what was committed in between is
	// durable; after its error that is not known. It may be called after the connection was given back. nil: it is durable
	// already. After an error of Restore the connection must not be used again.
	Restore() (durable func() error, err error)
}
