package virtual

import (
	"context"
	"database/sql/driver"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/fallback"
	"github.com/groupcommit/groupcommit/internal/sqltext"
)

// How a transaction begins with its first statement, where the engine can do that.

// laterTx is a transaction that an engine.Beginner begins. It keeps what is needed to begin it on another connection, in the
// place of one that was lost while the transaction had not begun: database/sql has had its answer to Begin, and does not try
// again.
type laterTx struct {
	driver.Tx // what is begun in the end
	beginning engine.Beginning
	ctx       context.Context // of Begin
	opts      driver.TxOptions
	own       bool // the connection was leased for the transaction, so that another is as good
}

// beginLater returns nil where the transaction is to begin at once. A connection that is bound may be known to the program,
// and its session is the program's.
func (c *Conn) beginLater(ctx context.Context, opts driver.TxOptions, leased bool) driver.Tx {
	b, ok := c.held.Conn.Session.(engine.Beginner)
	if !ok || c.bound {
		return nil
	}
	begin := b.BeginLater(ctx, opts)
	if begin == nil {
		return nil
	}
	c.tx.later = &laterTx{Tx: begin, beginning: begin, ctx: ctx, opts: opts, own: !leased}
	return c.tx.later
}

// mostExchanges is how many connections a transaction may lose before it has begun: database/sql's own number.
const mostExchanges = 2

// first calls run, which executes a statement on c's physical connection: the first of a transaction that is still to begin.
func (c *Conn) first(ctx context.Context, s engine.Statement, run func() error) error {
	for exchanged := 0; c.tx.later != nil; exchanged++ {
		l := c.tx.later
		start, err := l.beginning.First(ctx, s, run)
		if start == engine.NotBegun {
			return err
		}
		c.tx.later = nil
		if start == engine.Begun || !l.own || exchanged == mostExchanges || !c.exchange(ctx, l) {
			return err
		}
	}
	return run()
}

// exchange begins a transaction anew on another connection. If it cannot, the connection stays the one that was lost: the
// transaction's statements must fail, and not run outside of it.
func (c *Conn) exchange(ctx context.Context, l *laterTx) (ok bool) {
	c.detach(false)
	within, cancel := context.WithCancel(l.ctx) // what hooks see in it is Begin's
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	var err error
	if c.held.Lease, err = c.held.Exchange(within); err != nil {
		return false
	}
	if b, ok := c.held.Conn.Session.(engine.Beginner); ok {
		if l.beginning = b.BeginLater(l.ctx, l.opts); l.beginning != nil {
			l.Tx, c.tx.later = l.beginning, l
			return true
		}
	}
	if l.Tx, err = fallback.Begin(l.ctx, c.held.Conn.Raw, l.opts); err != nil {
		l.Tx = lostTx{err}
		c.held.Conn.Close()
	}
	return err == nil
}

// lostTx is a transaction that could not be begun.
type lostTx struct{ err error }

func (t lostTx) Commit() error   { return t.err }
func (t lostTx) Rollback() error { return t.err }

// beginNow begins a transaction that is still to begin.
func (c *Conn) beginNow(ctx context.Context) error {
	return c.first(ctx, engine.Statement{Text: true}, func() error { return nil })
}

// The statements of a Conn on its physical connection, the first of a transaction or not.

func (c *Conn) exec(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if c.tx.later == nil {
		return fallback.Exec(ctx, c.held.Conn.Raw, query, args)
	}
	return first(ctx, c, engine.Statement{Query: query, Args: args, Text: true}, func() (driver.Result, error) {
		return fallback.Exec(ctx, c.held.Conn.Raw, query, args)
	})
}

// execText is exec for a text of which more is known. In a transaction of BeginTx, one that is executed again and again has a statement that
// the engine keeps. A connection that is bound may see what others do not.
func (c *Conn) execText(ctx context.Context, t *sqltext.Text, args []driver.NamedValue) (driver.Result, error) {
	if c.tx.begun && !c.bound && t.Class == sqltext.Batch && !t.Returning {
		if k, ok := c.held.Conn.Session.(engine.Keeper); ok {
			if st := k.Kept(t.Query, args); st != nil {
				return fallback.ExecOwnStmt(ctx, c.held.Conn.Raw, st, args)
			}
		}
	}
	return c.exec(ctx, t.Query, args)
}

func (c *Conn) query(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if c.tx.later == nil {
		return fallback.Query(ctx, c.held.Conn.Raw, query, args)
	}
	return first(ctx, c, engine.Statement{Query: query, Args: args, Text: query == ""}, func() (driver.Rows, error) {
		return fallback.Query(ctx, c.held.Conn.Raw, query, args)
	})
}

func (s *stmt) exec(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if s.conn.tx.later == nil {
		return fallback.ExecOwnStmt(ctx, s.conn.held.Conn.Raw, s.native.Native, args)
	}
	return first(ctx, s.conn, engine.Statement{Query: s.text.Query, Args: args}, func() (driver.Result, error) {
		if err := s.attach(ctx); err != nil { // to a connection that is there in the place of the first
			return nil, err
		}
		return fallback.ExecOwnStmt(ctx, s.conn.held.Conn.Raw, s.native.Native, args)
	})
}

func (s *stmt) query(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	if s.conn.tx.later == nil {
		return fallback.QueryStmt(ctx, s.conn.held.Conn.Raw, s.native.Native, args)
	}
	return first(ctx, s.conn, engine.Statement{Query: s.text.Query, Args: args}, func() (driver.Rows, error) {
		if err := s.attach(ctx); err != nil {
			return nil, err
		}
		return fallback.QueryStmt(ctx, s.conn.held.Conn.Raw, s.native.Native, args)
	})
}

// prepare is attach, which may be the first that a transaction does.
func (s *stmt) prepare(ctx context.Context) error {
	if s.conn.tx.later == nil || s.native.Native != nil {
		return s.attach(ctx)
	}
	return s.conn.first(ctx, engine.Statement{Query: s.text.Query}, func() error { return s.attach(ctx) })
}

func first[T any](ctx context.Context, c *Conn, s engine.Statement, run func() (T, error)) (answer T, err error) {
	err = c.first(ctx, s, func() (err error) {
		answer, err = run()
		return err
	})
	return answer, err
}
