package virtual

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/physical"
	"github.com/groupcommit/groupcommit/internal/sqltext"
)

// A Host is the database, as its connections see it.
type Host interface {
	// Ready returns the database's traits. The first call opens it.
	Ready(ctx context.Context) (*engine.Traits, error)
	// Exec runs a call that may join a group. Its arguments are checked, where that takes no connection.
	Exec(ctx context.Context, c *Conn, e Exec) (driver.Result, error)
	// Query is Exec for a query that may join a group. If it returns no rows and no error, the query was not executed, or has
	// been run by its Lead.
	Query(ctx context.Context, c *Conn, e Exec) (driver.Rows, error)
	// ExecID runs a call that has an id. The host asks MayHaveID whether the call may have one, checks the arguments, and
	// counts the call with Count or runs it with RunHere.
	ExecID(ctx context.Context, c *Conn, id string, e Exec) (driver.Result, error)
	// QueryID is ExecID for a query with RETURNING.
	QueryID(ctx context.Context, c *Conn, id string, e Exec) (driver.Rows, error)
	// Committed is called after a COMMIT of BeginTx's transactions.
	Committed()
}

// A Conn is the connection that database/sql pools: a cheap one that holds a physical one only while it needs it. A
// statement takes one of three roads.
//
//   - group: a batchable Exec on a Conn that holds no physical connection goes to the host, which has a group run it. So does a
//     query with RETURNING, if the engine's groups can answer with rows: see grouped.
//   - lease: all other statements borrow a physical connection until database/sql has the Conn back, which it says by
//     calling IsValid: rows and transactions are then done for certain. What follows on the leased connection
//     before that goes to it too.
//   - bind: a statement that changes the session's state ties the physical connection to this Conn for life, which
//     is what the plain driver does. An open transaction begun by text ties it until it ends. A setting that was all
//     that the Conn was taken for came from db.Exec: it is made on every physical connection instead.
//
// database/sql calls a Conn, its statements and its transaction under one lock, so that they need no other.
type Conn struct {
	host     Host
	base     *Base
	programs bool // the program's own pool has it
	seat     physical.Seat

	bound     bool // to its physical connection, for life
	bad       bool // the driver said that the physical connection is
	last      lastText
	checkout  checkout
	held      held
	unsettled func() error // waits until what was committed is durable; nil if there is nothing to wait for
	tx        openTx
	turn      heldTurn
	handler   *HandlerTx // nil unless it is for a handler's transaction

	// Spare is the host's: what a call of c's has used that is over. It is for the next one; c has one call at a time.
	Spare any
}

// New makes a connection without any I/O. programs says that the program's own pool has it.
func New(h Host, b *Base, programs bool) *Conn {
	c := &Conn{host: h, base: b, programs: programs}
	if programs {
		b.Pool.Join(&c.seat)
	}
	return c
}

var (
	_ driver.Conn               = (*Conn)(nil)
	_ driver.ConnBeginTx        = (*Conn)(nil)
	_ driver.ConnPrepareContext = (*Conn)(nil)
	_ driver.ExecerContext      = (*Conn)(nil)
	_ driver.QueryerContext     = (*Conn)(nil)
	_ driver.Pinger             = (*Conn)(nil)
	_ driver.SessionResetter    = (*Conn)(nil)
	_ driver.Validator          = (*Conn)(nil)
	_ driver.NamedValueChecker  = (*Conn)(nil)
)

// Host is the database that the Conn is of.
func (c *Conn) Host() Host { return c.host }

// CheckNamedValue lets every argument through. What an argument may be depends on the physical connection, and there
// may be none yet; it is checked where the statement's road is known.
func (c *Conn) CheckNamedValue(*driver.NamedValue) error { return nil }

func (c *Conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	traits, err := c.host.Ready(ctx)
	if err != nil {
		return nil, err
	}
	t := c.text(traits, query)
	if res, ok, err := c.hosted(ctx, traits, Exec{Text: t, Args: args, Inputs: -1}); ok {
		return res, err
	}
	if err := c.use(ctx, traits, t); err != nil {
		return nil, err
	}
	res, err := c.execText(ctx, t, args)
	return c.executed(t, res, err)
}

// executed ends an Exec on c's physical connection that gave res or err.
func (c *Conn) executed(t *sqltext.Text, res driver.Result, err error) (driver.Result, error) {
	c.after(t)
	if err = c.settle(c.met(err)); err != nil {
		return nil, err
	}
	return res, nil
}

// lastText is what c has executed last, and mostly executes next: the cache of all texts has one lock for all callers.
type lastText struct {
	text    *sqltext.Text
	version int64
}

// text returns what is known of a text.
func (c *Conn) text(traits *engine.Traits, query string) *sqltext.Text {
	texts := &c.base.Texts
	version := texts.Version() // before Get: it counts what makes an answer old
	if t := c.last.text; t != nil && c.last.version == version && t.Query == query {
		return t
	}
	c.last = lastText{texts.Get(traits.Dialect, query), version}
	return c.last.text
}

// hosted makes the host run a call that has an id or may join a group. If ok is false, the call must run on c's physical
// connection.
func (c *Conn) hosted(ctx context.Context, traits *engine.Traits, e Exec) (res driver.Result, ok bool, err error) {
	if id, ok := IDOf(ctx); ok {
		res, err = c.host.ExecID(ctx, c, id, e)
		return res, true, err
	}
	if why := c.execRefusal(ctx, traits, &e); why != Groupable {
		c.apart(why)
		return nil, false, nil
	}
	if traits.Check != nil {
		if err := e.Check(traits); err != nil {
			return nil, true, err
		}
	}
	c.Count()
	res, err = c.host.Exec(ctx, c, e)
	return res, true, err
}

// Holds reports that the next statement must go to the physical connection that c has, or that its transaction is to have.
func (c *Conn) Holds() bool { return c.held.Conn != nil || c.tx.begun }

func (c *Conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	traits, err := c.host.Ready(ctx)
	if err != nil {
		return nil, err
	}
	t := c.text(traits, query)
	if id, ok := IDOf(ctx); ok && t.Write {
		return c.queryID(ctx, id, Exec{Text: t, Args: args, Inputs: -1})
	}
	if c.asksLevel(t) {
		return c.queryAside(ctx, query, args)
	}
	defer c.abandon(!c.Holds())
	if e := (Exec{Text: t, Args: args, Inputs: -1}); c.groupsQuery(ctx, traits, &e) {
		return c.grouped(ctx, traits, e, func(args []driver.NamedValue) (driver.Rows, error) { return c.leased(ctx, traits, t, args) })
	}
	return c.leased(ctx, traits, t, args)
}

// leased runs a query on the leased connection.
func (c *Conn) leased(ctx context.Context, traits *engine.Traits, t *sqltext.Text, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.use(ctx, traits, t); err != nil {
		return nil, err
	}
	rows, err := c.query(ctx, t.Query, args)
	return c.queried(t, rows, err)
}

// abandon is for a query to defer. If the query panics, in a Valuer say, database/sql never has the Conn back, and a lease
// that the query has begun would never end.
func (c *Conn) abandon(begun bool) {
	if v := recover(); v != nil {
		if begun {
			c.Close()
		}
		panic(v)
	}
}

// use makes the physical connection ready for a statement: borrowed, bound if the statement changes the session, with
// the writer's turn if it may write.
func (c *Conn) use(ctx context.Context, traits *engine.Traits, t *sqltext.Text) error {
	if c.handler != nil && c.tx.begun {
		if err := c.handler.refuse(t, c.held.Conn.Session); err != nil {
			return err
		}
	}
	if err := c.mayWrite(ctx, traits, t); err != nil {
		return err
	}
	if err := c.borrow(ctx); err != nil {
		return err
	}
	if err := c.held.Conn.Unset(); err != nil { // of one that is bound: no statement runs without the program's settings
		c.after(nil)
		return err
	}
	if err := c.beginLeased(); err != nil {
		c.after(nil)
		return c.met(err)
	}
	if err := c.statementDefers(t); err != nil {
		c.after(nil)
		return err
	}
	if t.Query != "" {
		c.Count()
	}
	c.held.wrote = c.held.wrote || t.Write && c.turn.has
	c.held.dirty = c.held.dirty || t.Write || t.Class != sqltext.Read
	c.held.more = c.held.more || t.Write || t.Class != sqltext.Read || t.Query == ""
	switch {
	case t.Class == sqltext.Control || t.Class == sqltext.Session && traits.OneConn:
		c.held.control = true
	case t.Settings != nil && c.checkout.uses == 1 && c.held.Conn.Session.Idle(): // one in a transaction is its connection's
		c.checkout.set, c.checkout.onlyBy = t.Settings, !c.bound
	}
	c.bound = c.bound || t.Class == sqltext.Session && !traits.OneConn
	return nil
}

// queried ends a query that gave rows or err. Rows that have begun under the turn keep it while there may be more to come,
// if their statement writes, or reads from the only connection there is. A statement without columns has no more to come, and
// a PRAGMA has done what it does; whether their rows are ever closed is no other statement's concern.
func (c *Conn) queried(t *sqltext.Text, rows driver.Rows, err error) (driver.Rows, error) {
	oneConn := c.base.Writer != nil && c.base.Traits.Load().OneConn
	if err != nil || !c.turn.has || !t.Write && !oneConn {
		c.after(t)
		if err = c.settle(c.met(err)); err != nil {
			return nil, err
		}
		c.held.read = c.Holds() && (c.held.read || !c.tx.begun)
		return c.durableRows(t, rows), nil
	}
	switch {
	case len(rows.Columns()) == 0:
		rows = finish(rows)
		c.after(t)
		return rows, c.settle(nil)
	case t.Pragma && !oneConn:
		c.after(t)
		c.held.read = c.Holds()
		if err = c.settle(nil); err != nil {
			rows.Close()
			return nil, err
		}
		return rows, nil
	}
	c.held.rows++
	return &turnRows{Rows: rows, text: t, of: c}, nil
}

// rowsFailed notes an error behind a row.
func (c *Conn) rowsFailed() { c.handler.noteFailure() }

// rowsClosed ends the use of rows that have kept the turn. err is that of their end.
func (c *Conn) rowsClosed(t *sqltext.Text, err error) error {
	c.held.rows = max(0, c.held.rows-1)
	c.after(t)
	return c.settle(err)
}

func (c *Conn) Ping(ctx context.Context) error {
	traits, err := c.host.Ready(ctx)
	if err != nil {
		return err
	}
	if err := c.use(ctx, traits, &sqltext.Text{}); err != nil {
		return err
	}
	err = c.met(c.held.Conn.Ping(ctx))
	c.after(nil)
	return err
}

// met notes an error of the driver's.
func (c *Conn) met(err error) error {
	if err != nil {
		c.checkout.set = nil
		c.handler.noteFailure()
	}
	c.bad = c.bad || errors.Is(err, driver.ErrBadConn)
	return err
}

// database/sql calls IsValid when a checkout is over.
func (c *Conn) IsValid() bool {
	c.checkout.back = true
	if c.held.Conn == nil {
		c.checkout.over()
		return true
	}
	if c.held.resting { // database/sql had it for a caller that has gone
		return true
	}
	valid := c.held.Conn.IsValid()
	if !valid {
		c.discard()
		return !c.bound
	}
	c.release()
	return true
}

// ResetSession is called before the next checkout.
func (c *Conn) ResetSession(ctx context.Context) error {
	c.kept()
	if !c.awake() {
		return driver.ErrBadConn
	}
	c.release() // IsValid did, unless a wrapper above us hides it
	if c.held.Conn == nil {
		return nil
	}
	return c.held.Conn.Reset(ctx)
}

// Close is called when database/sql gives the Conn up. If it still holds a physical connection, that one was bound or
// bad. Where one was bad, all that are older are taken for bad: database/sql tries two and then wants a new one.
func (c *Conn) Close() error {
	if c.bad && !c.base.Traits.Load().OneConn {
		c.base.Pool.Renew()
	}
	if c.awake() && c.held.Conn != nil {
		c.discard()
	}
	c.turn.leave(c.base)
	c.base.Pool.Leave(&c.seat)
	return nil
}
