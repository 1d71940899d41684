package groupcommit

import (
	"context"
	"database/sql/driver"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/internal/fallback"
	"github.com/groupcommit/groupcommit/internal/lru"
	"github.com/groupcommit/groupcommit/internal/turn"
)

// physicalConnector opens what the inner pools hold: the wrapped driver's connections, each with its session.
type physicalConnector struct {
	driver.Connector
	db *database
}

func (pc physicalConnector) Connect(ctx context.Context) (driver.Conn, error) {
	born := pc.db.generation.Load()
	leave, err := pc.db.turnToOpen(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	raw, err := pc.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	s, err := pc.db.engineFor(raw).Open(ctx, raw, pc.db.settings())
	if err != nil {
		raw.Close()
		return nil, err
	}
	p := &physical{
		raw: raw,
		db:  pc.db, born: born,
		session: s,
		unused:  lru.New(maxIdleStmts, func(st driver.Stmt) { st.Close() }),
	}
	p.catchUp(ctx)
	return p, nil
}

// turnToOpen takes the writer's turn for the opening of a connection, where that may write and who asks has no turn.
func (d *database) turnToOpen(ctx context.Context) (leave func(), err error) {
	t := d.traits.Load()
	if t == nil || !t.OpenWrites || ctx.Value(inTurnKey{}) != nil {
		return func() {}, nil
	}
	turn := turn.New()
	if err := d.takeTurn(ctx, turn, nil, time.Now()); err != nil {
		return nil, err
	}
	return func() { d.writer.Leave(turn) }, nil
}

type inTurnKey struct{}

// inTurn returns a context that says that the writer's turn is taken already.
func inTurn(ctx context.Context) context.Context { return context.WithValue(ctx, inTurnKey{}, true) }

// physical is one of the wrapped driver's connections. The inner pool knows it as a driver.Conn, so that lifetimes,
// resets and retries are database/sql's own.
type physical struct {
	raw     driver.Conn
	db      *database
	born    int64
	session engine.Session
	schema  int64                   // the version of the schema that unused is of
	closed  int64                   // the program's statements that unused knows to be closed
	unused  *lru.Cache[driver.Stmt] // prepared statements that nobody uses now, by text

	settings int64 // the version of the program's settings that it has
	unset    error // why it does not have them
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
	return fallback.Exec(ctx, p.raw, query, args)
}

func (p *physical) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return fallback.Query(ctx, p.raw, query, args)
}

func (p *physical) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	return fallback.Prepare(ctx, p.raw, query)
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
	return fallback.Begin(context.Background(), p.raw, driver.TxOptions{})
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
	if err := p.resetRaw(ctx); err != nil {
		return err
	}
	p.catchUp(ctx)
	return nil
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
