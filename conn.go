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
//     is what the plain driver does. An open transaction begun by text ties it until it ends. A setting that was all
//     that the conn was taken for came from db.Exec: it is made on every physical connection instead.
//
// database/sql calls a conn, its statements and its transaction under one lock; nothing here has another.
type conn struct {
	db *database
	lease
	programs bool // the program's own pool has it

	bound    bool // for life
	retained bool // the lease is over, and kept until it is known whether the program's pool keeps c: see pool.mayKeep
	control  bool // until no transaction is open
	suspect  bool // a transaction may have been left open
	bad      bool // the driver said that the physical connection is
	inTx     bool // of BeginTx
	altered  bool // the schema, perhaps, in a transaction that is still open
	rows     int  // open ones that keep the turn
	wrote    bool // the physical connection was the last to write, perhaps

	uses   int               // statements since database/sql took it from its pool
	back   bool              // database/sql has put it back since
	set    []sqltext.Setting // that the only one of them has made
	onlyBy bool              // it is bound by nothing else

	// Of the open transaction, where there is one writer.
	began    bool   // it has executed a statement, and may have a snapshot
	readOnly bool   // it is declared so
	first    string // the text that it began with, if it has only read so far

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
		return c.execGrouped(ctx, query, args, false)
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
	return t.Class == sqltext.Batch && !c.holds() && !traits.needsConn(args) && !noBatch(ctx)
}

// holds reports that the conn's next statement must go to the physical connection that it has.
func (c *conn) holds() bool { return c.physical != nil && !c.retained }

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
	if err := c.mayWrite(ctx, traits, t); err != nil {
		return err
	}
	if err := c.borrow(ctx); err != nil {
		return err
	}
	if t.query != "" {
		c.count()
	}
	c.retained = false
	c.wrote = c.wrote || t.Write && c.hasTurn
	switch {
	case t.Class == sqltext.Control || t.Class == sqltext.Session && traits.OneConn:
		c.control = true
	case t.settings != nil && c.uses == 1 && c.session.Idle(): // one in a transaction is its connection's
		c.set, c.onlyBy = t.settings, !c.bound
	}
	c.bound = c.bound || t.Class == sqltext.Session && !traits.OneConn
	return nil
}

func (c *conn) borrow(ctx context.Context) (err error) {
	if c.physical != nil {
		return nil
	}
	defer func() { // also of a panic, in a hook of the program's
		if c.physical == nil {
			c.after(nil)
		}
	}()
	c.lease, err = c.db.pool.borrow(ctx, c.hasTurn)
	return err
}

// manyUses is for how many statements in a row a conn has to be used for the program's pool to be taken for one that keeps
// conns, where a wrapper above us does not show what that pool does.
const manyUses = 16

// count counts a statement.
func (c *conn) count() {
	if c.uses++; c.back || c.uses == manyUses {
		c.used()
	}
}

// used is called when the program's pool has kept c.
func (c *conn) used() {
	c.back = false
	if c.programs {
		c.db.pool.mayKeep()
	}
}

// mayWrite takes the writer's turn for a statement, if it writes or if that is to be expected of its transaction. One that
// begins a transaction by text does not need it yet.
func (c *conn) mayWrite(ctx context.Context, traits *Traits, t *text) error {
	switch {
	case c.db.writer == nil:
		return nil
	case traits.OneConn:
		return c.takeTurn(ctx)
	}
	inTx := c.transacting()
	if !inTx { // the one before may have ended by text
		c.forgetTx()
	}
	if t.tentative || t.query == "" {
		return nil
	}
	defer func() { c.began = inTx }()
	if t.Write {
		if c.first != "" {
			c.db.readers.ended(c.first, true)
			c.first = ""
		}
		return c.takeTurn(ctx)
	}
	if !inTx || c.began || c.hasTurn || c.readOnly {
		return nil
	}
	c.first = t.query
	yes, enough := c.db.readers.likely(t.query)
	if yes {
		return nil
	}
	return c.expectTurn(ctx, enough)
}

// transacting reports that a transaction is open.
func (c *conn) transacting() bool { return c.inTx || c.control && !c.session.Idle() }

// forgetTx is called when no transaction is open any more.
func (c *conn) forgetTx() {
	if c.first != "" {
		c.db.readers.ended(c.first, false)
	}
	c.began, c.readOnly, c.first = false, false, ""
}

// takeTurn takes the writer's turn, or makes sure of the one that c has. A transaction that has executed something without
// a turn, or has lost it, does not wait for one: it may hold a lock or a snapshot that the writer needs to be rid of, so the
// database is to say what the plain driver would have heard.
func (c *conn) takeTurn(ctx context.Context) error {
	w := c.db.writer
	if w == nil || c.hasTurn && w.firm(c.turn) {
		return nil
	}
	if c.turn == nil {
		c.turn = newTurn()
	}
	if c.began && c.transacting() {
		c.hasTurn = w.takeFree(c.turn)
		return nil
	}
	err := c.db.takeTurn(ctx, c.turn, nil, time.Now())
	c.hasTurn = err == nil
	return err
}

// expectTurn takes the writer's turn for a transaction that may write later, until enough is closed.
func (c *conn) expectTurn(ctx context.Context, enough <-chan struct{}) error {
	if c.turn == nil {
		c.turn = newTurn()
	}
	err := c.db.takeTurn(ctx, c.turn, enough, time.Now())
	c.hasTurn = err == nil // perhaps in vain; it is then one that was overtaken
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

// queried ends a query that gave rows or err. Rows that have begun under the turn keep it while there may be more to come,
// if their statement writes, or reads from the only connection there is. A statement without columns has no more to come, and
// a PRAGMA has done what it does; whether their rows are ever closed is nobody else's concern.
func (c *conn) queried(t *text, rows driver.Rows, err error) (driver.Rows, error) {
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
	case t.pragma && !oneConn:
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
	if err := c.use(ctx, traits, &text{}); err != nil {
		return err
	}
	err = c.met(c.physical.Ping(ctx))
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
	if c.physical == nil {
		c.uses = 0
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
	c.used()
	c.release() // IsValid did, unless a wrapper above us hides it
	if c.physical == nil {
		return nil
	}
	if err := c.resetRaw(ctx); err != nil { // what is bound is never exchanged for another one
		return err
	}
	c.catchUp(ctx)
	return c.unset
}

// release gives the physical connection back, unless something ties it to c.
func (c *conn) release() {
	if c.physical == nil {
		c.uses = 0
		return
	}
	c.makeKnown()
	c.uses = 0
	idle := c.session.Idle()
	c.inTx, c.rows = false, 0
	switch {
	case c.bound || c.control && !idle:
		c.after(nil)
		return
	case !idle && (c.suspect || c.db.writer != nil):
		c.discard()
		return
	case c.retains():
		for _, s := range c.stmts {
			s.detach(true)
		}
		l := c.forgetLease()
		l.conn.leaveTurn()
		c.retain(l.lease)
		return
	}
	c.giveBack()
}

// retains reports that it is not known whether the program's pool keeps c.
func (c *conn) retains() bool { return c.programs && !c.db.pool.keeps.Load() }

func (c *conn) retain(l lease) { c.lease, c.retained = l, true }

// takeRetained returns the lease that has been retained, if there is one.
func (c *conn) takeRetained() (l lease, ok bool) {
	if !c.retained {
		return lease{}, false
	}
	l, c.lease, c.retained = c.lease, lease{}, false
	return l, true
}

// makeKnown has a setting hold for every physical connection, if it was all that c was taken for: then it was made by
// db.Exec. On a sql.Conn, or in a transaction, it is that one's.
func (c *conn) makeKnown() {
	if c.set == nil {
		return
	}
	if c.uses == 1 && !c.bad {
		c.db.shared.add(c.set, c.physical)
		if c.onlyBy {
			c.bound = false
		}
	}
	c.set, c.onlyBy = nil, false
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
	c.forgetTx()
	l := endedLease{c, c.lease, c.wrote}
	c.stmts, c.lease, c.retained, c.set = nil, lease{}, false, nil
	c.control, c.suspect, c.inTx, c.altered, c.rows, c.wrote = false, false, false, false, 0, false
	return l
}

type endedLease struct {
	conn *conn
	lease
	wrote bool
}

func (l endedLease) giveBack() { l.lease.giveBack(l.wrote); l.conn.leaveTurn() }
func (l endedLease) discard()  { l.lease.discard(); l.conn.leaveTurn() }

// Close is called when database/sql gives the conn up. If it still holds a physical connection, that one was bound,
// retained or bad. Where one was bad, all that are older are taken for bad: database/sql tries two and then wants a new one.
func (c *conn) Close() error {
	if c.bad && !c.db.traits.Load().OneConn {
		c.db.generation.Add(1)
	}
	if c.physical != nil {
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
