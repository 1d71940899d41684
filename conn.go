package groupcommit

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/internal/fallback"
	"github.com/groupcommit/groupcommit/internal/physical"
	"github.com/groupcommit/groupcommit/internal/sqltext"
	"github.com/groupcommit/groupcommit/internal/turn"
)

// conn is what database/sql pools: a cheap connection that holds a physical one only while it needs it. A statement
// takes one of three roads.
//
//   - group: a batchable Exec on a conn that holds no physical connection joins a group.
//   - lease: everything else borrows a physical connection until database/sql has its conn back, which it says by
//     calling IsValid: rows and transactions are then done for certain. What follows on the leased connection
//     before that goes to it too.
//   - bind: a statement that changes the session's state ties the physical connection to this conn for life, which
//     is what the plain driver does. An open transaction begun by text ties it until it ends. A setting that was all
//     that the conn was taken for came from db.Exec: it is made on every physical connection instead.
//
// database/sql calls a conn, its statements and its transaction under one lock; nothing here has another.
type conn struct {
	db       *database
	lease    physical.Lease
	programs bool // the program's own pool has it

	bound   bool // for life
	control bool // until no transaction is open
	suspect bool // a transaction may have been left open
	bad     bool // the driver said that the physical connection is
	inTx    bool // of BeginTx
	altered bool // the schema, perhaps, in a transaction that is still open
	rows    int  // open ones that keep the turn
	wrote   bool // the physical connection was the last to write, perhaps

	uses   int               // statements since database/sql took it from its pool
	back   bool              // database/sql has put it back since
	set    []sqltext.Setting // that the only one of them has made
	onlyBy bool              // it is bound by nothing else

	// Of the open transaction, where there is one writer.
	began    bool   // it has executed a statement, and may have a snapshot
	readOnly bool   // it is declared so
	first    string // the text that it began with, if it has only read so far

	turn    *turn.Turn // made when first needed
	hasTurn bool

	// Of a conn that a handler's transaction is on.
	writes  bool // its transactions are to begin as ones that will write, and only we end them
	ending  bool // we do
	failed  bool // a statement has failed, and may have ended the transaction
	unclear bool // it is not known what became of its last transaction

	stmts []*stmt // whose physical statements belong to the leased connection
}

var (
	_ driver.Conn               = (*conn)(nil)
	_ driver.ConnBeginTx        = (*conn)(nil)
	_ driver.ConnPrepareContext = (*conn)(nil)
	_ driver.ExecerContext      = (*conn)(nil)
	_ driver.QueryerContext     = (*conn)(nil)
	_ driver.Pinger             = (*conn)(nil)
	_ driver.SessionResetter    = (*conn)(nil)
	_ driver.Validator          = (*conn)(nil)
	_ driver.NamedValueChecker  = (*conn)(nil)
)

// CheckNamedValue lets every argument through. What an argument may be depends on the physical connection, and there
// may be none yet; it is checked where the statement's road is known.
func (c *conn) CheckNamedValue(*driver.NamedValue) error { return nil }

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	traits, err := c.db.ready(ctx)
	if err != nil {
		return nil, err
	}
	t := c.db.texts.Get(traits.Dialect, query)
	if id, ok := idOf(ctx); ok {
		return c.execOnce(ctx, id, t, traits, query, args, -1)
	}
	if c.batchable(ctx, t, traits, args) {
		if traits.Check != nil {
			if args, err = fallback.Check(args, -1, []fallback.ArgCheck{traits.Check, fallback.DefaultCheck}); err != nil {
				return nil, err
			}
		}
		return c.execGrouped(ctx, query, args, false)
	}
	if err := c.use(ctx, traits, t); err != nil {
		return nil, err
	}
	res, err := fallback.Exec(ctx, c.lease.Conn.Raw, query, args)
	c.after(t)
	return res, c.met(err)
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	traits, err := c.db.ready(ctx)
	if err != nil {
		return nil, err
	}
	t := c.db.texts.Get(traits.Dialect, query)
	if t.Write {
		if err := refuseID(ctx, "a query that writes"); err != nil {
			return nil, err
		}
	}
	defer c.abandon(!c.holds())()
	if err := c.use(ctx, traits, t); err != nil {
		return nil, err
	}
	rows, err := fallback.Query(ctx, c.lease.Conn.Raw, query, args)
	return c.queried(t, rows, err)
}

// abandon returns what is to be deferred by a query: if it panics, in a Valuer say, database/sql never has the conn back,
// and nobody would end a lease that the query has begun.
func (c *conn) abandon(begun bool) func() {
	return func() {
		if v := recover(); v != nil {
			if begun {
				c.Close()
			}
			panic(v)
		}
	}
}

// batchable reports that an Exec joins a group.
func (c *conn) batchable(ctx context.Context, t *sqltext.Text, traits *engine.Traits, args []driver.NamedValue) bool {
	return c.groupable(ctx, t, traits, args) && !c.db.apiece(traits)
}

// groupable reports that an Exec may join a group, if there are any.
func (c *conn) groupable(ctx context.Context, t *sqltext.Text, traits *engine.Traits, args []driver.NamedValue) bool {
	return t.Class == sqltext.Batch && !c.holds() && !traits.NeedsConn(args) && !noBatch(ctx)
}

// holds reports that the conn's next statement must go to the physical connection that it has.
func (c *conn) holds() bool { return c.lease.Conn != nil }

// use makes the physical connection ready for a statement: borrowed, bound if the statement changes the session, with
// the writer's turn if it may write.
func (c *conn) use(ctx context.Context, traits *engine.Traits, t *sqltext.Text) error {
	if c.writes && c.inTx {
		if t.Class == sqltext.Control && !t.Savepoint {
			return errEnded
		}
		if c.failed && c.lease.Conn.Session.Idle() { // it would commit by itself
			return errUndone
		}
	}
	if err := c.mayWrite(ctx, traits, t); err != nil {
		return err
	}
	if err := c.borrow(ctx); err != nil {
		return err
	}
	if c.lease.Conn.Unset() != nil { // of one that is bound: nothing runs without the program's settings
		c.after(nil)
		return c.lease.Conn.Unset()
	}
	if t.Query != "" {
		c.count()
	}
	c.wrote = c.wrote || t.Write && c.hasTurn
	switch {
	case t.Class == sqltext.Control || t.Class == sqltext.Session && traits.OneConn:
		c.control = true
	case t.Settings != nil && c.uses == 1 && c.lease.Conn.Session.Idle(): // one in a transaction is its connection's
		c.set, c.onlyBy = t.Settings, !c.bound
	}
	c.bound = c.bound || t.Class == sqltext.Session && !traits.OneConn
	return nil
}

// queried ends a query that gave rows or err. Rows that have begun under the turn keep it while there may be more to come,
// if their statement writes, or reads from the only connection there is. A statement without columns has no more to come, and
// a PRAGMA has done what it does; whether their rows are ever closed is nobody else's concern.
func (c *conn) queried(t *sqltext.Text, rows driver.Rows, err error) (driver.Rows, error) {
	oneConn := c.db.writer != nil && c.db.traits.Load().OneConn
	if err != nil || !c.hasTurn || !t.Write && !oneConn {
		c.after(t)
		return rows, c.met(err)
	}
	switch {
	case len(rows.Columns()) == 0:
		rows = finish(rows)
		c.after(t)
		return rows, nil
	case t.Pragma && !oneConn:
		c.after(t)
		return rows, nil
	}
	c.rows++
	return &turnRows{Rows: rows, conn: c, text: t}, nil
}

func (c *conn) Ping(ctx context.Context) error {
	traits, err := c.db.ready(ctx)
	if err != nil {
		return err
	}
	if err := c.use(ctx, traits, &sqltext.Text{}); err != nil {
		return err
	}
	err = c.met(c.lease.Conn.Ping(ctx))
	c.after(nil)
	return err
}

// met takes note of an error of the driver's.
func (c *conn) met(err error) error {
	if err != nil {
		c.failed, c.set = true, nil
	}
	c.bad = c.bad || errors.Is(err, driver.ErrBadConn)
	return err
}

// IsValid is where database/sql says that a checkout is over.
func (c *conn) IsValid() bool {
	c.back = true
	if c.lease.Conn == nil {
		c.uses = 0
		return true
	}
	valid := c.lease.Conn.IsValid()
	if !valid {
		c.discard()
		return !c.bound
	}
	c.release()
	return true
}

// ResetSession is called before the next checkout.
func (c *conn) ResetSession(ctx context.Context) error {
	c.used()
	c.release() // IsValid did, unless a wrapper above us hides it
	if c.lease.Conn == nil {
		return nil
	}
	return c.lease.Conn.Reset(ctx) // what is bound is never exchanged for another one
}

// Close is called when database/sql gives the conn up. If it still holds a physical connection, that one was bound,
// retained or bad. Where one was bad, all that are older are taken for bad: database/sql tries two and then wants a new one.
func (c *conn) Close() error {
	if c.bad && !c.db.traits.Load().OneConn {
		c.db.pool.Renew()
	}
	if l, ok := c.db.pool.TakeRetained(c); ok {
		l.Discard()
	}
	if c.lease.Conn != nil {
		c.discard()
	}
	c.leaveTurn()
	return nil
}

func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

func (c *conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}
