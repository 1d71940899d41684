package virtual

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/sqltext"
	"github.com/groupcommit/groupcommit/internal/turn"
)

// A HandlerTx is a handler's transaction on one of our connections. It begins as a transaction that will write, and the
// handler cannot end it: only Commit and Close do.
//
// It works on the connection by Raw of database/sql, which holds the connection's lock. Its methods are for one goroutine at
// a time, while the handler's own statements may still be under way.
type HandlerTx struct {
	pooled *sql.Conn
	tx     *sql.Tx

	// What the Conn notes of the transaction. The connection's lock guards it.
	ending  bool               // by Commit, and not by the handler
	begun   *transaction       // nil before
	last    []engine.Statement // of the library's, which go with COMMIT
	before  bool               // one of them has failed, and COMMIT has certainly not been executed
	failed  bool               // a statement has failed, and may have ended the transaction
	unclear bool               // it is not known what became of COMMIT
}

var (
	// ErrEnded is the error of a handler that has ended its transaction.
	ErrEnded = errors.New("groupcommit: a handler must not end its transaction; nothing of it is left")
	// ErrUndone is the error of a statement in a transaction that a failed statement has ended.
	ErrUndone = errors.New("groupcommit: a statement of the handler has failed and ended the transaction, and the handler has not returned the error; nothing of it is left")
)

// BeginHandler begins a transaction on a connection of db, which must be a pool of Conns. t is a turn that the caller has
// already, or nil. It tries once: driver.ErrBadConn is for the caller to try again.
func BeginHandler(ctx context.Context, db *sql.DB, t *turn.Turn) (*HandlerTx, error) {
	pooled, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	h := &HandlerTx{pooled: pooled}
	err = h.on(func(c *Conn) error {
		c.turn.lend(t)
		c.handler = h
		return nil
	})
	if err == nil {
		h.tx, err = pooled.BeginTx(ctx, nil)
	}
	if err != nil {
		h.unbind()
		return nil, err
	}
	return h, nil
}

// on calls f with the Conn while no other call uses it.
func (h *HandlerTx) on(f func(*Conn) error) error {
	return h.pooled.Raw(func(dc any) error { return f(dc.(*Conn)) })
}

// SQL is the transaction for the handler.
func (h *HandlerTx) SQL() *sql.Tx { return h.tx }

// Own runs a statement of the library's beside the handler's. It returns ErrUndone if a failed statement has ended the
// transaction.
func (h *HandlerTx) Own(text string) error {
	return h.on(func(c *Conn) error {
		if h.undone(c.held.Conn.Session) {
			return ErrUndone // a savepoint would begin another transaction
		}
		_, err := c.exec(context.Background(), text, nil)
		return err
	})
}

// State says whether the transaction is open for database/sql, and whether the database knows of none. lost is why neither
// can be told: the connection is gone.
func (h *HandlerTx) State() (open, idle bool, lost error) {
	lost = h.on(func(c *Conn) error {
		open, idle = c.tx.begun, c.held.Conn == nil || c.held.Conn.Session.Idle()
		return nil
	})
	return open, idle, lost
}

// Gone reports that the connection is there no longer.
func (h *HandlerTx) Gone() (gone bool) {
	err := h.on(func(c *Conn) error {
		if c.held.Conn != nil {
			v, ok := c.held.Conn.Session.(driver.Validator)
			gone = ok && !v.IsValid()
		}
		return nil
	})
	return gone || err != nil
}

// Finishes reports that Commit can take statements.
func (h *HandlerTx) Finishes() (can bool) {
	err := h.on(func(*Conn) error {
		f := h.begun.finisher()
		can = f != nil && f.Finishes()
		return nil
	})
	return can && err == nil
}

// Commit executes last, if there are any, and commits. before says that err is of these, and that COMMIT has certainly not
// been executed. unclear says that err leaves open whether the transaction is in the database.
func (h *HandlerTx) Commit(last []engine.Statement) (before, unclear bool, err error) {
	if err := h.on(func(*Conn) error {
		h.ending, h.last = true, last
		return nil
	}); err != nil {
		return false, false, err
	}
	if err = h.tx.Commit(); err == nil {
		return false, false, nil
	}
	lost := h.on(func(*Conn) error {
		unclear = h.unclear
		return nil
	})
	before = h.before // this goroutine has set it
	return before, !before && (unclear || lost != nil), err
}

// Close rolls the transaction back if it is still open, and gives the connection back.
func (h *HandlerTx) Close() {
	h.tx.Rollback() // an error if it has been committed
	h.unbind()
}

// unbind makes the Conn an ordinary one, and gives it back.
func (h *HandlerTx) unbind() {
	h.on(func(c *Conn) error {
		c.turn.endLoan()
		c.handler = nil
		if c.bound { // to the session's state that the handler has left
			c.bound = false
			c.discard()
		}
		return nil
	})
	h.pooled.Close()
}

// What the Conn asks and tells. The caller holds the connection's lock.

// refuse is the error of a statement of the handler's that must not run.
func (h *HandlerTx) refuse(t *sqltext.Text, s engine.Session) error {
	if t.Class == sqltext.Control && !t.Savepoint {
		return ErrEnded
	}
	if h.undone(s) { // it would commit by itself
		return ErrUndone
	}
	return nil
}

// undone reports that a failed statement has ended the transaction.
func (h *HandlerTx) undone(s engine.Session) bool { return h.failed && s.Idle() }

// noteFailure notes that a statement has failed. A nil HandlerTx is none.
func (h *HandlerTx) noteFailure() {
	if h != nil {
		h.failed = true
	}
}
