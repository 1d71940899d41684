package groupcommit

import (
	"context"
	"database/sql/driver"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/internal/fallback"
)

// BeginTx begins a transaction on a leased connection. Where there is one writer, it takes the writer's turn when it first
// writes; when it first reads, if it is likely to write then: see readers.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	traits, err := c.db.ready(ctx)
	if err != nil {
		return nil, err
	}
	if err := refuseID(ctx, "a transaction"); err != nil {
		return nil, err
	}
	if c.writes || traits.BeginWrites || traits.OneConn {
		if err := c.takeTurn(ctx); err != nil {
			return nil, err
		}
		c.wrote = true
	}
	if err := c.borrow(ctx); err != nil {
		return nil, err
	}
	c.count()
	c.forgetTx()
	c.readOnly = opts.ReadOnly
	tx, err := c.begin(ctx, traits, opts)
	if err != nil {
		c.after(nil)
		return nil, c.met(err)
	}
	c.inTx, c.unclear, c.failed = true, false, false
	return &transaction{c, tx, ctx}, nil
}

func (c *conn) begin(ctx context.Context, traits *engine.Traits, opts driver.TxOptions) (driver.Tx, error) {
	if !c.writes || traits.Begin == "" {
		return fallback.Begin(ctx, c.lease.Conn.Raw, opts)
	}
	if _, err := fallback.Exec(ctx, c.lease.Conn.Raw, traits.Begin, nil); err != nil {
		return nil, err
	}
	return begun{c.lease.Conn.Raw}, nil
}

// begun is a transaction that was begun by a statement.
type begun struct{ raw driver.Conn }

// Commit leaves no transaction open: who calls it has done with it, whatever happens.
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
	conn *conn
	tx   driver.Tx
	ctx  context.Context
}

func (t *transaction) Commit() error {
	if t.conn.writes && !t.conn.ending {
		t.Rollback()
		return errEnded
	}
	err := t.tx.Commit()
	t.conn.unclear = err != nil && !t.conn.lease.Conn.Session.Idle()
	t.ended(err)
	t.conn.db.wakeKeepers()
	return err
}

// Rollback is also what database/sql calls when the transaction's context ends. Many a driver can then no longer send
// anything, so the connection has to prove that it is clean.
func (t *transaction) Rollback() error {
	err := t.tx.Rollback()
	t.ended(err)
	return err
}

func (t *transaction) ended(err error) {
	t.conn.inTx = false
	t.conn.forgetTx()
	if t.conn.altered {
		t.conn.alteredNow()
		t.conn.altered = false
		t.conn.db.texts.Forget()
	}
	t.conn.met(err)
	t.conn.suspect = t.conn.suspect || err != nil || t.ctx.Err() != nil
	t.conn.after(nil)
}
