package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/command"
	"github.com/groupcommit/groupcommit/internal/fallback"
	"github.com/groupcommit/groupcommit/internal/turn"
)

// A host is a database as commands see it.
type host struct{ db *database }

var (
	_ command.Host = host{}
	_ command.Tx   = (*handlerTx)(nil)
)

func (h host) DB() *sql.DB                                   { return h.db.virtual }
func (h host) Leave(t *turn.Turn)                            { h.db.writer.Leave(t) }
func (h host) Patience() (time.Duration, error)              { return h.db.patience() }
func (h host) Transient(err error) bool                      { return h.db.transient(err) }
func (h host) Keeps(id string) error                         { return h.db.keeps(id) }
func (h host) WithoutID(ctx context.Context) context.Context { return withoutID(ctx) }
func (h host) Added()                                        { h.db.added.Store(true) }
func (h host) Traits() *engine.Traits                        { return h.db.traits.Load() }

func (h host) Enter(ctx context.Context, t *turn.Turn, since time.Time) error {
	return h.db.takeTurn(ctx, t, nil, since)
}

func (h host) Begin(ctx context.Context, t *turn.Turn) (command.Tx, error) {
	c, err := h.db.virtual.Conn(ctx)
	if err != nil {
		return nil, err
	}
	x := &handlerTx{conn: c}
	err = x.own(func(c *conn) error {
		c.turn, c.hasTurn, c.writes, c.ending = t, t != nil, true, false
		return nil
	})
	if err == nil {
		x.tx, err = c.BeginTx(ctx, nil)
	}
	if err != nil {
		x.giveBack()
		return nil, err
	}
	return x, nil
}

var (
	errEnded  = errors.New("groupcommit: a handler must not end its transaction; nothing of it is left")
	errUndone = errors.New("groupcommit: a statement of the handler has failed and ended the transaction, and the handler has not returned the error; nothing of it is left")
)

// A handlerTx is a handler's transaction, on a connection of ours that it has to itself.
type handlerTx struct {
	conn *sql.Conn
	tx   *sql.Tx
}

func (x *handlerTx) SQL() *sql.Tx { return x.tx }

// own does something with our connection, while no statement uses it.
func (x *handlerTx) own(f func(*conn) error) error {
	return x.conn.Raw(func(dc any) error { return f(dc.(*conn)) })
}

func (x *handlerTx) Own(text string) error {
	return x.own(func(c *conn) error {
		if c.failed && c.session.Idle() {
			return errUndone // a savepoint would begin another transaction
		}
		_, err := fallback.Exec(context.Background(), c.raw, text, nil)
		return err
	})
}

func (x *handlerTx) State() (open, idle bool, lost error) {
	lost = x.own(func(c *conn) error {
		open, idle = c.inTx, c.physical == nil || c.session.Idle()
		return nil
	})
	return open, idle, lost
}

func (x *handlerTx) Gone() (gone bool) {
	err := x.own(func(c *conn) error {
		if c.physical != nil {
			v, ok := c.session.(driver.Validator)
			gone = ok && !v.IsValid()
		}
		return nil
	})
	return gone || err != nil
}

func (x *handlerTx) Commit() (unclear bool, err error) {
	if err := x.own(func(c *conn) error {
		c.ending = true
		return nil
	}); err != nil {
		return false, err
	}
	if err = x.tx.Commit(); err != nil {
		lost := x.own(func(c *conn) error {
			unclear = c.unclear
			return nil
		})
		unclear = unclear || lost != nil
	}
	return unclear, err
}

func (x *handlerTx) Close() {
	x.tx.Rollback() // an error if it has been committed
	x.giveBack()
}

func (x *handlerTx) giveBack() {
	x.own(func(c *conn) error {
		if !c.hasTurn { // it is another's
			c.turn = nil
		}
		c.writes, c.failed = false, false
		if c.bound { // to the session's state that the handler has left
			c.bound = false
			c.discard()
		}
		return nil
	})
	x.conn.Close()
}

// wakeKeepers is called after a COMMIT. Commands may have been added by that transaction, or by one that is still open: these
// are found in a later round of their runner's.
func (d *database) wakeKeepers() {
	if !d.added.CompareAndSwap(true, false) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.runners {
		r.Wake()
	}
}
