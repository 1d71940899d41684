package groupcommit

import (
	"context"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/groupcommit/groupcommit/internal/sqltext"
)

// conn is what database/sql pools: a cheap connection that holds a physical one only while it needs it. A statement
// takes one of three roads.
//
//   - group: a batchable Exec on a conn that holds no physical connection joins a group.
//   - lease: everything else borrows a physical connection until database/sql has its conn back, which it says by
//     calling IsValid: rows and transactions are then done for certain. What follows on the leased connection
//     before that goes to it too.
//   - bind: a statement that changes the session's state ties the physical connection to this conn for life, which
//     is what the plain driver does. An open transaction begun by text ties it until it ends.
//
// database/sql calls a conn, its statements and its transaction under one lock; nothing here has another.
type conn struct {
	db *database
	lease
	bound   bool // for life
	control bool // until no transaction is open
	suspect bool // a transaction may have been left open
	bad     bool // the driver said that the physical connection is
	inTx    bool // of BeginTx
	altered bool // the schema, perhaps, in a transaction that is still open
	rows    int  // open ones that keep the turn

	turn    *turn // made when first needed
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
	t := c.db.texts.get(traits.Dialect, query)
	if id, ok := idOf(ctx); ok {
		return c.execOnce(ctx, id, t, traits, query, args, -1)
	}
	if c.batchable(ctx, t, traits, args) {
		if traits.Check != nil {
			if args, err = checkArgs(args, -1, []argCheck{traits.Check, defaultCheck}); err != nil {
				return nil, err
			}
		}
		return c.db.exec(ctx, query, args, false)
	}
	if err := c.use(ctx, traits, t); err != nil {
		return nil, err
	}
	res, err := execOn(ctx, c.raw, query, args)
	c.after(t)
	return res, c.met(err)
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	traits, err := c.db.ready(ctx)
	if err != nil {
		return nil, err
	}
	t := c.db.texts.get(traits.Dialect, query)
	if t.Write {
		if err := refuseID(ctx, "a query that writes"); err != nil {
			return nil, err
		}
	}
	defer c.abandon(c.physical == nil)()
	if err := c.use(ctx, traits, t); err != nil {
		return nil, err
	}
	rows, err := queryOn(ctx, c.raw, query, args)
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
func (c *conn) batchable(ctx context.Context, t *text, traits *Traits, args []driver.NamedValue) bool {
	return c.groupable(ctx, t, traits, args) && !c.db.apiece(traits)
}

// groupable reports that an Exec may join a group, if there are any.
func (c *conn) groupable(ctx context.Context, t *text, traits *Traits, args []driver.NamedValue) bool {
	return t.Class == sqltext.Batch && c.physical == nil && !traits.needsConn(args) && !noBatch(ctx)
}

// use makes the physical connection ready for a statement: borrowed, bound if the statement changes the session, with
// the writer's turn if it may write.
func (c *conn) use(ctx context.Context, traits *Traits, t *text) error {
	if c.writes && c.inTx {
		if t.Class == sqltext.Control && !t.savepoint {
			return errEnded
		}
		if c.failed && c.session.Idle() { // it would commit by itself
			return errUndone
		}
	}
	if t.Write || traits.OneConn {
		if err := c.takeTurn(ctx, t.tentative && !traits.OneConn); err != nil {
			return err
		}
	}
	if err := c.borrow(ctx, traits); err != nil {
		return err
	}
	switch {
	case t.Class == sqltext.Control || t.Class == sqltext.Session && traits.OneConn:
		c.control = true
	case t.Class == sqltext.Session:
		c.bound = true
	}
	return nil
}

func (c *conn) borrow(ctx context.Context, traits *Traits) (err error) {
	if c.physical == nil {
		if c.lease, err = c.db.lease(ctx, traits); err != nil {
			c.lease = lease{}
			c.after(nil)
		}
	}
	return err
}

// takeTurn takes the writer's turn, or makes sure of the one that c has. A transaction that has begun without a turn,
// or lost it, does not wait for one: it may hold a lock or a snapshot that the writer needs to be rid of, so the database
// is to say what the plain driver would have heard.
func (c *conn) takeTurn(ctx context.Context, tentative bool) error {
	w := c.db.writer
	if w == nil || c.hasTurn && (tentative || w.firm(c.turn)) {
		return nil
	}
	if c.turn == nil {
		c.turn = newTurn()
	}
	if c.inTx || c.control && !c.session.Idle() {
		c.hasTurn = w.takeFree(c.turn)
		return nil
	}
	err := c.db.takeTurn(ctx, c.turn, tentative, time.Now())
	c.hasTurn = err == nil
	return err
}

// after a statement, the turn ends if nothing that was begun is still open.
func (c *conn) after(t *text) {
	if t != nil && (t.Schema || t.Class == sqltext.Control) {
		c.altered = c.altered || t.Schema // and a rollback may take it back
		c.alteredNow()
		c.db.texts.forget()
	}
	if !c.hasTurn || c.inTx || c.rows > 0 {
		return
	}
	switch {
	case c.physical == nil:
		c.leaveTurn()
	case !c.session.Idle():
	case c.db.traits.Load().OneConn:
		c.giveBack() // everybody else needs it
	default:
		c.leaveTurn()
	}
}

// alteredNow counts a change of the schema, or the end of a transaction that has made one.
func (c *conn) alteredNow() {
	if c.altered {
		c.db.altered.Add(1)
	}
}

func (c *conn) leaveTurn() {
	if c.hasTurn {
		c.db.writer.leave(c.turn)
		c.hasTurn = false
	}
}

// queried ends a query that gave rows or err. Rows that have begun under the turn keep it until they are closed, if
// their statement writes, or reads from the only connection there is.
func (c *conn) queried(t *text, rows driver.Rows, err error) (driver.Rows, error) {
	if err != nil || !c.hasTurn || !t.Write && !c.db.traits.Load().OneConn {
		c.after(t)
		return rows, c.met(err)
	}
	c.rows++
	return &turnRows{Rows: rows, conn: c, text: t}, nil
}

func (c *conn) Ping(ctx context.Context) error {
	traits, err := c.db.ready(ctx)
	if err != nil {
		return err
	}
	if err := c.use(ctx, traits, &text{}); err != nil {
		return err
	}
	err = c.met(c.physical.Ping(ctx))
	c.after(nil)
	return err
}

// met takes note of an error of the driver's.
func (c *conn) met(err error) error {
	c.failed = c.failed || err != nil
	c.bad = c.bad || errors.Is(err, driver.ErrBadConn)
	return err
}

// IsValid is where database/sql says that a checkout is over.
func (c *conn) IsValid() bool {
	if c.physical == nil {
		return true
	}
	valid := c.physical.IsValid()
	if !valid {
		c.discard()
		return !c.bound
	}
	c.release()
	return true
}

// ResetSession is called before the next checkout.
func (c *conn) ResetSession(ctx context.Context) error {
	c.release() // IsValid did, unless a wrapper above us hides it
	if c.physical == nil {
		return nil
	}
	return c.resetRaw(ctx) // what is bound is never exchanged for another one
}

// release gives the physical connection back, unless something ties it to c.
func (c *conn) release() {
	if c.physical == nil {
		return
	}
	idle := c.session.Idle()
	c.inTx, c.rows = false, 0
	switch {
	case c.bound || c.control && !idle:
		c.after(nil)
		return
	case !idle && (c.suspect || c.db.writer != nil):
		c.discard()
		return
	}
	c.giveBack()
}

func (c *conn) giveBack() {
	for _, s := range c.stmts {
		s.detach(true)
	}
	c.forgetLease().giveBack()
}

// discard closes the physical connection with whatever is open on it. The only one of a database that lives in it is
// rolled back instead, and kept if that helps.
func (c *conn) discard() {
	if t := c.db.traits.Load(); t.OneConn {
		if !c.session.Idle() {
			execOn(context.Background(), c.raw, "ROLLBACK", nil)
		}
		if c.session.Idle() {
			c.giveBack()
			return
		}
	}
	for _, s := range c.stmts {
		s.detach(false)
	}
	c.forgetLease().discard()
}

// forgetLease ends the lease and the turn. The connection must be given back first where the turn guards it.
func (c *conn) forgetLease() endedLease {
	l := endedLease{c, c.lease}
	c.stmts, c.lease = nil, lease{}
	c.control, c.suspect, c.inTx, c.altered, c.rows = false, false, false, false, 0
	return l
}

type endedLease struct {
	conn *conn
	lease
}

func (l endedLease) giveBack() { l.lease.giveBack(); l.conn.leaveTurn() }
func (l endedLease) discard()  { l.lease.discard(); l.conn.leaveTurn() }

// Close is called when database/sql gives the conn up. If it still holds a physical connection, that one was bound,
// or bad.
func (c *conn) Close() error {
	if c.physical != nil {
		if c.bad && !c.db.traits.Load().OneConn {
			c.db.generation.Add(1)
		}
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
