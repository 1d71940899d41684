package virtual

import (
	"context"
	"database/sql/driver"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/fallback"
)

func (c *Conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

// BeginTx begins a transaction on a leased connection. Where there is one writer, it takes the writer's turn when it first
// writes; when it first reads, if it is likely to write then: see Readers of package turn.
func (c *Conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	traits, err := c.host.Ready(ctx)
	if err != nil {
		return nil, err
	}
	if err := refuseID(ctx, "a transaction"); err != nil {
		return nil, err
	}
	if c.handler != nil || traits.BeginWrites || traits.OneConn {
		if err := c.takeTurn(ctx); err != nil {
			return nil, err
		}
		c.held.wrote = true
	}
	t := c.unleasedTx(ctx, traits, opts)
	if t == nil {
		if t, err = c.leasedTx(ctx, traits, opts); err != nil {
			return nil, err
		}
	}
	c.Count()
	c.tx.begun = true
	if c.handler != nil {
		c.handler.begun = t
	}
	return t, nil
}

// leasedTx begins a transaction on a connection that is leased for it, or that c has.
func (c *Conn) leasedTx(ctx context.Context, traits *engine.Traits, opts driver.TxOptions) (*transaction, error) {
	leased := c.held.Conn != nil
	if err := c.borrow(ctx); err != nil {
		return nil, err
	}
	c.held.more = true
	c.tx.forget(&c.base.Readers)
	c.tx.readOnly = opts.ReadOnly
	err := c.txDefers()
	var tx driver.Tx
	if err == nil {
		tx, err = c.begin(ctx, traits, opts, leased)
	}
	if err != nil {
		c.after(nil)
		return nil, c.met(err)
	}
	return &transaction{c, tx, ctx}, nil
}

// txDefers is defers for a transaction that is about to begin.
func (c *Conn) txDefers() error {
	if c.tx.readOnly {
		return nil
	}
	if err := c.defers(false); c.turn.has && c.turn.enough == nil {
		return err
	}
	return nil // it may be a reader's, and is asked again at its first write
}

// begin begins a transaction. leased says that the physical connection has been c's before.
func (c *Conn) begin(ctx context.Context, traits *engine.Traits, opts driver.TxOptions, leased bool) (driver.Tx, error) {
	raw := c.held.Conn.Raw
	if c.handler == nil || traits.Begin == "" {
		if l := c.beginLater(ctx, opts, leased); l != nil {
			return l, nil
		}
		return fallback.Begin(ctx, raw, opts)
	}
	if _, err := fallback.Exec(ctx, raw, traits.Begin, nil); err != nil {
		return nil, err
	}
	return begun{raw}, nil
}

// begun is a transaction that was begun by a statement.
type begun struct{ raw driver.Conn }

// Commit leaves no transaction open, even after an error: its caller has done with it.
func (b begun) Commit() error {
	err := b.end("COMMIT")
	if err != nil {
		b.end("ROLLBACK") // an error if COMMIT has rolled back
	}
	return err
}

func (b begun) Rollback() error { return b.end("ROLLBACK") }

func (b begun) end(text string) error {
	_, err := fallback.Exec(context.Background(), b.raw, text, nil)
	return err
}

// transaction is a transaction of BeginTx. Its end is the end of the turn; the connection stays leased until
// database/sql has closed the transaction's statements and rows.
type transaction struct {
	conn *Conn
	tx   driver.Tx // nil before it has a connection: see unleasedTx
	ctx  context.Context
}

func (t *transaction) Commit() error {
	h := t.conn.handler
	if h != nil && !h.ending {
		t.Rollback()
		return ErrEnded
	}
	err := t.commit()
	if h != nil {
		h.unclear = err != nil && !h.before && (!t.conn.Holds() || !t.conn.held.Conn.Session.Idle())
	}
	t.ended(err)
	if failed := t.conn.settle(err); failed != err {
		err = failed
		if h != nil {
			h.unclear = true
		}
	}
	t.conn.host.Committed()
	return err
}

// commit is the driver's Commit, after the handler's last statements, if they are to go with it.
func (t *transaction) commit() (err error) {
	if t.tx == nil {
		return nil
	}
	h := t.conn.handler
	if h == nil || len(h.last) == 0 {
		return t.tx.Commit()
	}
	h.before, err = t.finisher().Finish(h.last)
	return err
}

// finisher is the transaction, if the engine has begun it and can end it together with statements; otherwise nil.
func (t *transaction) finisher() engine.Finisher {
	l, ok := t.tx.(*laterTx)
	if !ok {
		return nil
	}
	f, _ := l.Tx.(engine.Finisher)
	return f
}

// database/sql calls Rollback also when the transaction's context ends. Many drivers can then send nothing more, so the
// connection has to prove that it is clean.
func (t *transaction) Rollback() (err error) {
	if t.tx != nil {
		err = t.tx.Rollback()
	}
	t.ended(err)
	t.conn.unsettled = nil // it has committed nothing
	return err
}

func (t *transaction) ended(err error) {
	c := t.conn
	c.tx.begun = false
	c.tx.forget(&c.base.Readers)
	if c.tx.altered {
		c.alteredNow()
		c.tx.altered = false
		c.base.Texts.Forget()
	}
	c.met(err)
	c.held.suspect = c.held.suspect || c.held.Conn != nil && (err != nil || t.ctx.Err() != nil)
	c.after(nil)
}
