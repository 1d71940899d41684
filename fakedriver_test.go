package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fake is a database/sql driver, and a connector of itself, with a database that keeps what was inserted. It counts
// calls, fails where it is told to, and knows when its connections are misused.
type fake struct {
	variant variant
	fail    func(op, query string) error // asked before every operation
	unnamed bool                         // statements do not know how many inputs they have
	hold    chan struct{}                // a statement "plug" runs until it is closed

	mu     sync.Mutex
	counts map[string]int
	opened string
	rows   []string
	epoch  int // of the server: connections of an earlier one are stale
	live   int // connections
	stmts  int // prepared and not closed
	wrong  []string
}

// A variant is which of the optional interfaces a driver has.
type variant struct {
	name string
	conn func(*fakeConn) driver.Conn
	stmt func(*fakeStmt) driver.Stmt
}

var (
	errFake      = errors.New("fake: constraint failed")
	errEngineTyp = errors.New("fake: complex numbers are not supported")
	fakes        atomic.Int64
)

func newFake() *fake { return newFakeOf(modern) }
func newFakeOf(v variant) *fake {
	return &fake{variant: v, counts: make(map[string]int), hold: make(chan struct{})}
}

// register registers the fake with us and returns the name.
func (f *fake) register(_ *testing.T, opts ...Option) string {
	name := fmt.Sprintf("fake%d-groupcommit", fakes.Add(1))
	Register(name, f, opts...)
	return name
}

// db opens the fake through us, and at the end of the test sees to it that nothing was misused and nothing is left.
func (f *fake) db(t *testing.T, opts ...Option) *sql.DB {
	c, err := NewConnector(f, opts...)
	require.NoError(t, err)
	return f.watched(t, sql.OpenDB(c))
}

// usedDB is db after its first two uses: from then on it is known that the program's pool keeps connections.
func (f *fake) usedDB(t *testing.T, opts ...Option) *sql.DB {
	db := f.db(t, opts...)
	require.NoError(t, db.Ping())
	require.NoError(t, db.Ping())
	return db
}

func (f *fake) plain(t *testing.T) *sql.DB { return f.watched(t, sql.OpenDB(f)) }

func (f *fake) watched(t *testing.T, db *sql.DB) *sql.DB {
	t.Cleanup(func() {
		assert.NoError(t, db.Close())
		left := func() (conns, stmts int) {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.live, f.stmts
		}
		assert.EventuallyWithT(t, func(t *assert.CollectT) { // database/sql ends transactions and rows in goroutines of its own
			conns, stmts := left()
			assert.Zero(t, conns, "connections are left open")
			assert.Zero(t, stmts, "statements are left open")
		}, 5*time.Second, time.Millisecond)
		f.mu.Lock()
		defer f.mu.Unlock()
		assert.Empty(t, f.wrong)
		assert.LessOrEqual(t, f.counts["connector close"], 1)
	})
	return db
}

// on has op fail with err, n times, where query is part of the statement.
func (f *fake) on(op, query string, n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.fail
	f.fail = func(o, q string) error {
		if o == op && strings.Contains(q, query) && n > 0 {
			n--
			return err
		}
		if before != nil {
			return before(o, q)
		}
		return nil
	}
}

func (f *fake) note(op, query string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[op]++
	if f.fail != nil {
		return f.fail(op, query)
	}
	return nil
}

func (f *fake) count(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[op]
}

func (f *fake) dsn() string { return f.opened }

// stored is what the database holds.
func (f *fake) stored() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string{}, f.rows...)
}

func (f *fake) Open(dsn string) (driver.Conn, error) {
	f.mu.Lock()
	f.opened = dsn
	f.mu.Unlock()
	return f.Connect(context.Background())
}

func (f *fake) Connect(context.Context) (driver.Conn, error) {
	if err := f.note("open", ""); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.live++
	return f.variant.conn(&fakeConn{f: f, epoch: f.epoch}), nil
}

func (f *fake) Driver() driver.Driver { return f }
func (f *fake) Close() error          { return f.note("connector close", "") }

// fakeConn is a connection with what every driver has. The optional interfaces are the types below.
type fakeConn struct {
	f      *fake
	epoch  int
	inUse  atomic.Bool
	closed bool
	tx     bool
	begun  []string // inserted by the open transaction
}

// use is the beginning of each of the connection's operations. The caller calls done.
func (c *fakeConn) use(op, query string) (done func(), err error) {
	if !c.inUse.CompareAndSwap(false, true) {
		c.misused(op + " beside another operation")
		return func() {}, nil
	}
	if c.closed {
		c.misused(op + " after Close")
	}
	if err = c.f.note(op, query); err == nil && c.stale() && op != "close" && op != "stmt close" && op != "valid" {
		err = driver.ErrBadConn
	}
	return func() { c.inUse.Store(false) }, err
}

func (c *fakeConn) stale() bool {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	return c.epoch != c.f.epoch
}

// restart makes every open connection stale.
func (f *fake) restart() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.epoch++
}

func (c *fakeConn) misused(how string) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	c.f.wrong = append(c.f.wrong, how)
}

func (c *fakeConn) Close() error {
	done, err := c.use("close", "")
	defer done()
	c.f.mu.Lock()
	c.f.live--
	c.f.mu.Unlock()
	c.closed, c.tx, c.begun = true, false, nil
	return err
}

func (c *fakeConn) Prepare(query string) (driver.Stmt, error) {
	done, err := c.use("prepare", query)
	defer done()
	if err == nil && strings.Contains(query, "SYNTAX") {
		err = errors.New("fake: syntax error")
	}
	if err != nil {
		return nil, err
	}
	c.f.mu.Lock()
	c.f.stmts++
	c.f.mu.Unlock()
	return c.f.variant.stmt(&fakeStmt{c: c, query: query}), nil
}

func (c *fakeConn) Begin() (driver.Tx, error) { return c.begin(driver.TxOptions{}) }

func (c *fakeConn) begin(opts driver.TxOptions) (driver.Tx, error) {
	done, err := c.use("begin", "")
	defer done()
	if err == nil && opts.Isolation == driver.IsolationLevel(sql.LevelLinearizable) {
		err = errors.New("fake: no such isolation level")
	}
	if err != nil {
		return nil, err
	}
	if c.tx {
		c.misused("begin in a transaction")
	}
	c.tx = true
	return fakeTx{c}, nil
}

func (c *fakeConn) exec(op, query string, args any) (driver.Result, error) {
	done, err := c.use(op, query)
	defer done()
	if err == nil && strings.Contains(query, "FAIL") {
		err = errFake
	}
	if err != nil {
		return nil, err
	}
	if strings.Contains(query, "plug") {
		<-c.f.hold
	}
	c.begun = append(c.begun, fmt.Sprintf("%s %v", query, args))
	id := int64(len(c.begun))
	if !c.tx {
		id = c.commit()
	}
	return fakeResult(id), nil
}

func (c *fakeConn) commit() int64 {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	c.f.rows = append(c.f.rows, c.begun...)
	c.begun = nil
	return int64(len(c.f.rows))
}

type fakeResult int64

func (r fakeResult) LastInsertId() (int64, error) { return int64(r), nil }
func (r fakeResult) RowsAffected() (int64, error) { return 0, errors.New("fake: rows are not counted") }

// query answers with its own arguments and the number of rows.
func (c *fakeConn) query(op, query string, args any) (driver.Rows, error) {
	done, err := c.use(op, query)
	defer done()
	if err == nil && strings.Contains(query, "FAIL") {
		err = errFake
	}
	if err != nil {
		return nil, err
	}
	return &fakeRows{text: fmt.Sprintf("%s %v of %d", query, args, len(c.f.stored())+len(c.begun))}, nil
}

type fakeRows struct {
	text string
	done bool
}

func (r *fakeRows) Columns() []string { return []string{"text"} }
func (r *fakeRows) Close() error      { return nil }
func (r *fakeRows) Next(row []driver.Value) error {
	if r.done {
		return io.EOF
	}
	row[0], r.done = r.text, true
	return nil
}

type fakeTx struct{ c *fakeConn }

func (tx fakeTx) end(op string) error {
	done, err := tx.c.use(op, "")
	defer done()
	if err != nil {
		return err
	}
	if !tx.c.tx {
		tx.c.misused(op + " without a transaction")
	}
	if tx.c.tx = false; op == "commit" {
		tx.c.commit()
	}
	tx.c.begun = nil
	return nil
}

func (tx fakeTx) Commit() error   { return tx.end("commit") }
func (tx fakeTx) Rollback() error { return tx.end("rollback") }

// fakeStmt is a statement with what every driver has.
type fakeStmt struct {
	c      *fakeConn
	query  string
	closed bool
}

func (s *fakeStmt) Close() error {
	done, err := s.c.use("stmt close", s.query)
	defer done()
	if s.closed {
		s.c.misused("a statement was closed twice")
	}
	s.closed = true
	s.c.f.mu.Lock()
	s.c.f.stmts--
	s.c.f.mu.Unlock()
	return err
}

func (s *fakeStmt) NumInput() int {
	if s.c.f.unnamed {
		return -1
	}
	return strings.Count(s.query, "?")
}

func (s *fakeStmt) Exec(args []driver.Value) (driver.Result, error) {
	return s.c.exec("stmt exec", s.query, args)
}

func (s *fakeStmt) Query(args []driver.Value) (driver.Rows, error) {
	return s.c.query("stmt query", s.query, args)
}

// The optional interfaces of a connection and a statement, each a type of its own.
type (
	withExecer      struct{ c *fakeConn }
	withExecerCtx   struct{ c *fakeConn }
	withSkip        struct{ c *fakeConn } // an ExecerContext and QueryerContext that knows no arguments
	withQueryer     struct{ c *fakeConn }
	withQueryerCtx  struct{ c *fakeConn }
	withBeginTx     struct{ c *fakeConn }
	withPrepareCtx  struct{ c *fakeConn }
	withChecker     struct{ who string } // of arguments; of a connection or a statement
	withReset       struct{ c *fakeConn }
	withValidator   struct{ c *fakeConn }
	withPinger      struct{ c *fakeConn }
	withStmtCtx     struct{ s *fakeStmt }
	withColumnTypes struct{}
)

func (w withExecer) Exec(q string, args []driver.Value) (driver.Result, error) {
	return w.c.exec("exec", q, args)
}

func (w withExecerCtx) ExecContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return w.c.exec("exec", q, args)
}

func (w withSkip) ExecContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Result, error) {
	if len(args) > 0 {
		return nil, driver.ErrSkip
	}
	return w.c.exec("exec", q, args)
}

func (w withSkip) QueryContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Rows, error) {
	if len(args) > 0 {
		return nil, driver.ErrSkip
	}
	return w.c.query("query", q, args)
}

func (w withQueryer) Query(q string, args []driver.Value) (driver.Rows, error) {
	return w.c.query("query", q, args)
}

func (w withQueryerCtx) QueryContext(_ context.Context, q string, args []driver.NamedValue) (driver.Rows, error) {
	return w.c.query("query", q, args)
}

func (w withBeginTx) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return w.c.begin(opts)
}

func (w withPrepareCtx) PrepareContext(_ context.Context, q string) (driver.Stmt, error) {
	return w.c.Prepare(q)
}

func (w withStmtCtx) ExecContext(_ context.Context, args []driver.NamedValue) (driver.Result, error) {
	return w.s.c.exec("stmt exec", w.s.query, args)
}

func (w withStmtCtx) QueryContext(_ context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return w.s.c.query("stmt query", w.s.query, args)
}

// removed is an argument that the checker takes out: an option.
type removed struct{}

func (w withChecker) CheckNamedValue(nv *driver.NamedValue) error {
	switch v := nv.Value.(type) {
	case removed:
		return driver.ErrRemoveArgument
	case complex128:
		return errEngineTyp
	case int32:
		nv.Value = fmt.Sprintf("%s has seen %d", w.who, v)
		return nil
	}
	return driver.ErrSkip
}

func (withColumnTypes) ColumnConverter(int) driver.ValueConverter { return fakeColumn{} }

type fakeColumn struct{}

func (fakeColumn) ConvertValue(v any) (driver.Value, error) {
	switch v := v.(type) {
	case uint8:
		return nil, fmt.Errorf("fake: column does not take %d", v)
	case uint16:
		return v, nil // which is none of driver.Value
	case string:
		return "column has seen " + v, nil
	}
	return driver.DefaultParameterConverter.ConvertValue(v)
}

func (w withReset) ResetSession(context.Context) error {
	done, err := w.c.use("reset", "")
	defer done()
	return err
}

func (w withValidator) IsValid() bool {
	done, err := w.c.use("valid", "")
	defer done()
	return err == nil
}

func (w withPinger) Ping(context.Context) error {
	done, err := w.c.use("ping", "")
	defer done()
	return err
}

// anySession is a session as the author of an adapter would write it on engine's own helpers.
type anySession struct{ conn driver.Conn }

func (s anySession) Traits() engine.Traits { return engine.Traits{Dialect: engine.GenericSQL} }
func (s anySession) Idle() bool            { return false }
func (s anySession) Close()                {}

func (s anySession) Alone(c *Call) (driver.Result, error) {
	return engine.ExecOn(c.Context(), s.conn, c)
}

func (s anySession) Group(ctx context.Context, calls []*Call) engine.Outcome {
	return engine.GroupOn(ctx, s.conn, calls)
}

// anyEngine is the engine of drivers that no package knows.
func anyEngine() Engine { return engine.Find(nil, nil) }
