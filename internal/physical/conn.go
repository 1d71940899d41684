package physical

import (
	"context"
	"database/sql/driver"
	"sync/atomic"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/fallback"
	"github.com/groupcommit/groupcommit/internal/lru"
	"github.com/groupcommit/groupcommit/internal/sqltext"
)

// shared is what all connections of a pool have in common.
type shared struct {
	config     Config
	generation atomic.Int64 // of the connections that are not known to be stale
	settings   settings
	stmts      openStmts
}

// connect opens what the pool holds: the wrapped driver's connections, each with its session.
func (s *shared) connect(ctx context.Context) (*Conn, error) {
	born := s.generation.Load()
	if ctx.Value(inTurnKey{}) == nil {
		leave, err := s.config.TakeTurn(ctx)
		if err != nil {
			return nil, err
		}
		defer leave()
	}
	raw, err := s.config.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	made := false
	defer func() { // also after a panic in a hook of the program's
		if !made {
			raw.Close()
		}
	}()
	session, err := s.config.Open(ctx, raw)
	if err != nil {
		return nil, err
	}
	c := &Conn{
		Raw:     raw,
		Session: session,
		shared:  s,
		born:    born,
		opened:  time.Now(),
		unused:  lru.New(maxIdleStmts, func(st driver.Stmt) { st.Close() }),
	}
	c.CatchUp(ctx)
	made = true
	return c, nil
}

// A Conn is one of the wrapped driver's connections. The library's own sql.DB knows it as a driver.Conn.
type Conn struct {
	Raw     driver.Conn    // the wrapped driver's own
	Session engine.Session // the engine's

	shared *shared
	born   int64                   // the generation that it is of
	opened time.Time               // after its opening
	schema int64                   // the version of the schema that unused is of
	closed int64                   // the program's statements that unused knows to be closed
	latest Stmt                    // the prepared statement that was in use last, if it is not now: mostly the next one
	unused *lru.Cache[driver.Stmt] // the others that are not in use, by text

	settings int64 // the version of the program's settings that it has
	unset    error // why it does not have them

	// While it is idle; the pool's mutex guards them.
	wrote  bool            // its last use has written
	seat   *Seat           // the only one that may use it: see reserve
	opener context.Context // the only one that may use it
}

var (
	_ driver.Conn               = (*Conn)(nil)
	_ driver.ConnPrepareContext = (*Conn)(nil)
	_ driver.ExecerContext      = (*Conn)(nil)
	_ driver.QueryerContext     = (*Conn)(nil)
	_ driver.NamedValueChecker  = (*Conn)(nil)
	_ driver.Pinger             = (*Conn)(nil)
	_ driver.SessionResetter    = (*Conn)(nil)
	_ driver.Validator          = (*Conn)(nil)
)

// Statements of our own, those about the ledger's table, go through the pool's database/sql. They need the driver's
// ways that have a context: without them database/sql prepares each statement, and under no context at all.

func (c *Conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return fallback.Exec(ctx, c.Raw, query, args)
}

func (c *Conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return fallback.Query(ctx, c.Raw, query, args)
}

func (c *Conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	return fallback.Prepare(ctx, c.Raw, query)
}

// CheckNamedValue is the driver's. Package fallback checks once more, which changes no value of the driver's.
func (c *Conn) CheckNamedValue(nv *driver.NamedValue) error {
	if checker, ok := c.Raw.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(nv)
	}
	return driver.ErrSkip
}

func (c *Conn) Prepare(query string) (driver.Stmt, error) { return c.Raw.Prepare(query) }
func (c *Conn) Begin() (driver.Tx, error) {
	return fallback.Begin(context.Background(), c.Raw, driver.TxOptions{})
}

func (c *Conn) Close() error {
	c.closeUnused()
	c.Session.Close()
	return c.Raw.Close()
}

func (c *Conn) Ping(ctx context.Context) error {
	if pinger, ok := c.Raw.(driver.Pinger); ok {
		return pinger.Ping(ctx)
	}
	return nil
}

// ResetSession is called by the pool before the next use. It refuses a stale connection.
func (c *Conn) ResetSession(ctx context.Context) error {
	if c.born < c.shared.generation.Load() {
		return driver.ErrBadConn
	}
	return c.Reset(ctx)
}

// Reset is ResetSession for a connection that has not been given back: it is never exchanged for another one.
func (c *Conn) Reset(ctx context.Context) error {
	if r, ok := c.Raw.(driver.SessionResetter); ok {
		if err := r.ResetSession(ctx); err != nil {
			return err
		}
	}
	c.CatchUp(ctx)
	return nil
}

func (c *Conn) IsValid() bool {
	if v, ok := c.Raw.(driver.Validator); ok {
		return v.IsValid()
	}
	return true
}

// Unset is why the connection does not have the program's settings: no statement must run on it. nil if it has them.
func (c *Conn) Unset() error { return c.unset }

// Share makes known what has been set on the connection, and has it hold for all connections of the pool.
func (c *Conn) Share(new []sqltext.Setting) {
	before, after := c.shared.settings.add(new, func(name string) { c.shared.config.Refresh(c.Session, name) })
	if c.settings == before { // or else it is to catch up with all of them, in their order
		c.settings = after
	}
}

// CatchUp makes the settings that the connection does not have yet.
func (c *Conn) CatchUp(ctx context.Context) {
	c.unset = nil
	s := &c.shared.settings
	if c.settings == s.version.Load() || !c.Session.Idle() { // some have no effect in a transaction
		return
	}
	texts, version := s.since(c.settings)
	for _, text := range texts { // many a PRAGMA answers with a row
		if _, c.unset = fallback.Exec(ctx, c.Raw, text, nil); c.unset != nil {
			return // the next borrower gets the error: no statement runs without the settings
		}
	}
	c.settings = version
}
