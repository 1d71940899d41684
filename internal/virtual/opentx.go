package virtual

import "github.com/groupcommit/groupcommit/internal/turn"

// openTx is the state of the transaction that is open on a Conn.
type openTx struct {
	begun   bool     // by BeginTx
	altered bool     // it has altered the schema, perhaps
	later   *laterTx // it is still to begin, with its first statement; nil: it has begun

	unleased *transaction // it has no connection yet, and has not begun; nil: it has

	// Where there is one writer:
	executed bool   // it has executed a statement, and may have a snapshot
	readOnly bool   // it is declared so
	first    string // the text that it began with, if it has only read so far
}

// writes notes that the transaction is no reader's.
func (t *openTx) writes(r *turn.Readers) {
	if t.first != "" {
		r.Ended(t.first, true)
		t.first = ""
	}
}

// forget is called when the transaction is no longer open. begun and altered stay: the Conn itself takes them back.
func (t *openTx) forget(r *turn.Readers) {
	if t.first != "" {
		r.Ended(t.first, false)
	}
	t.executed, t.readOnly, t.first, t.later, t.unleased = false, false, "", nil, nil
}
