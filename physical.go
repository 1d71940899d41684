package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	"github.com/groupcommit/groupcommit/internal/lru"
)

// physicalConnector opens what the inner pools hold: the wrapped driver's connections, each with its session.
type physicalConnector struct {
	driver.Connector
	db *database
}

func (pc physicalConnector) Connect(ctx context.Context) (driver.Conn, error) {
	born := pc.db.generation.Load()
	raw, err := pc.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	s, err := pc.db.engineFor(raw).Open(ctx, raw, pc.db.settings())
	if err != nil {
		raw.Close()
		return nil, err
	}
	return &physical{
		raw: raw,
		db:  pc.db, born: born,
		session: s,
		unused:  lru.New(maxIdleStmts, func(st driver.Stmt) { st.Close() }),
	}, nil
}

// physical is one of the wrapped driver's connections. The inner pool knows it as a driver.Conn, so that lifetimes,
// resets and retries are database/sql's own.
type physical struct {
	raw     driver.Conn
	db      *database
	born    int64
	session Session
	schema  int64                   // the version of the schema that unused is of
	closed  int64                   // the program's statements that unused knows to be closed
	unused  *lru.Cache[driver.Stmt] // prepared statements that nobody uses now, by text
}

// maxIdleStmts is how many prepared statements a physical connection keeps for the next that prepares the same text.
const maxIdleStmts = 64

var (
	_ driver.Conn               = (*physical)(nil)
	_ driver.ConnPrepareContext = (*physical)(nil)
	_ driver.ExecerContext      = (*physical)(nil)
	_ driver.QueryerContext     = (*physical)(nil)
	_ driver.NamedValueChecker  = (*physical)(nil)
	_ driver.Pinger             = (*physical)(nil)
	_ driver.SessionResetter    = (*physical)(nil)
	_ driver.Validator          = (*physical)(nil)
)

// Statements of our own go through the inner pools' database/sql, those about the ledger's table. They need the driver's
// ways that have a context: without them database/sql prepares each statement, and under no context at all.

func (p *physical) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return execOn(ctx, p.raw, query, args)
}

func (p *physical) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return queryOn(ctx, p.raw, query, args)
}

func (p *physical) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	return prepareOn(ctx, p.raw, query)
}

// CheckNamedValue is the driver's. execOn and queryOn check once more, which changes no value of the driver's.
func (p *physical) CheckNamedValue(nv *driver.NamedValue) error {
	if c, ok := p.raw.(driver.NamedValueChecker); ok {
		return c.CheckNamedValue(nv)
	}
	return driver.ErrSkip
}

func (p *physical) Prepare(query string) (driver.Stmt, error) { return p.raw.Prepare(query) }
func (p *physical) Begin() (driver.Tx, error) {
	return beginOn(context.Background(), p.raw, driver.TxOptions{})
}

func (p *physical) Close() error {
	p.unused.Clear()
	p.session.Close()
	return p.raw.Close()
}

func (p *physical) Ping(ctx context.Context) error {
	if pinger, ok := p.raw.(driver.Pinger); ok {
		return pinger.Ping(ctx)
	}
	return nil
}

func (p *physical) ResetSession(ctx context.Context) error {
	if p.born < p.db.generation.Load() {
		return driver.ErrBadConn
	}
	return p.resetRaw(ctx)
}

func (p *physical) resetRaw(ctx context.Context) error {
	if r, ok := p.raw.(driver.SessionResetter); ok {
		return r.ResetSession(ctx)
	}
	return nil
}

func (p *physical) IsValid() bool {
	if v, ok := p.raw.(driver.Validator); ok {
		return v.IsValid()
	}
	return true
}

// A lease is the use of a physical connection, until it is given back or discarded.
type lease struct {
	pooled *sql.Conn
	*physical
}

// borrow waits for a physical connection of pool. One that turns out to be stale is replaced by database/sql.
func borrow(ctx context.Context, pool *sql.DB) (lease, error) {
	c, err := pool.Conn(ctx)
	if err != nil {
		return lease{}, err
	}
	l := lease{pooled: c}
	err = c.Raw(func(dc any) error {
		l.physical = dc.(*physical)
		l.dropClosed()
		return nil
	})
	if err != nil {
		c.Close()
	}
	return l, err
}

func (l lease) giveBack() { l.pooled.Close() }

// discard closes the physical connection, and with it whatever was open on it.
func (l lease) discard() {
	l.pooled.Raw(func(any) error { return driver.ErrBadConn })
}

// done ends the lease after a call that gave err.
func (l lease) done(err error) {
	if errors.Is(err, driver.ErrBadConn) {
		l.discard()
	} else {
		l.giveBack()
	}
}
