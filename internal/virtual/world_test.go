package virtual

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/physical"
	"github.com/groupcommit/groupcommit/internal/turn"
	"github.com/stretchr/testify/assert"
)

var (
	errFailed = errors.New("the statement has failed")
	errLost   = errors.New("the answer is lost")
	errBusy   = errors.New("the database is busy")
)

// world is a database with one writer, and its host. It notes what happens on the driver's side, and what the host is asked.
type world struct {
	Base
	traits engine.Traits

	mu      sync.Mutex
	log     []string
	hosted  []string // texts of what went to Exec and, behind the id, to ExecID or QueryID
	commits int
	opened  int
}

// newWorld returns a world, and a pool of its connections that has one at a time.
func newWorld(t *testing.T) (*world, *sql.DB) {
	w := &world{traits: engine.Traits{Dialect: engine.SQLiteSQL, OneWriter: true, Begin: "BEGIN IMMEDIATE", Busy: errBusy, BusyWait: time.Minute,
		Check: engine.DefaultCheck}}
	w.Writer = new(turn.Writer)
	w.Pool = w.pool(0)
	db := sql.OpenDB(connectorOf(func() driver.Conn { return New(w, &w.Base, true) }))
	db.SetMaxOpenConns(1)
	t.Cleanup(func() {
		assert.NoError(t, db.Close())
		assert.NoError(t, w.Pool.Close())
		assert.True(t, w.Writer.Free(), "a turn was never left")
	})
	return w, db
}

func (w *world) pool(most int) *physical.Pool {
	return physical.New(physical.Config{
		Connector: connectorOf(func() driver.Conn { w.opened++; return &wire{w: w} }),
		Open: func(_ context.Context, raw driver.Conn) (engine.Session, error) {
			return session{raw.(*wire)}, nil
		},
		TakeTurn: func(context.Context) (func(), error) { return func() {}, nil },
		Most:     most,
	})
}

type connectorOf func() driver.Conn

func (c connectorOf) Connect(context.Context) (driver.Conn, error) { return c(), nil }
func (c connectorOf) Driver() driver.Driver                        { return nil }

func (w *world) Ready(context.Context) (*engine.Traits, error) {
	w.Traits.CompareAndSwap(nil, &w.traits)
	return w.Traits.Load(), nil
}

func (w *world) Exec(_ context.Context, _ *Conn, e Exec) (driver.Result, error) {
	w.hosted = append(w.hosted, e.Text.Query)
	return driver.RowsAffected(1), nil
}

func (w *world) Query(_ context.Context, _ *Conn, e Exec) (driver.Rows, error) {
	w.hosted = append(w.hosted, e.Text.Query)
	return nil, nil
}

func (w *world) ExecID(ctx context.Context, c *Conn, id string, e Exec) (driver.Result, error) {
	w.hosted = append(w.hosted, id+": "+e.Text.Query)
	return driver.RowsAffected(1), c.MayHaveID(ctx, id, e)
}

func (w *world) QueryID(ctx context.Context, c *Conn, id string, e Exec) (driver.Rows, error) {
	w.hosted = append(w.hosted, id+": "+e.Text.Query)
	return &twoRows{}, c.MayHaveID(ctx, id, e)
}

func (w *world) Committed() { w.commits++ }

// take returns the statements since the last call.
func (w *world) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	log := w.log
	w.log = nil
	return log
}

// wire is a physical connection. A statement with FAIL in it fails; one with UNDO ends the transaction, too; after LOSE no answer to
// COMMIT or ROLLBACK comes.
type wire struct {
	w    *world
	tx   bool
	lost bool
}

type session struct{ *wire }

func (s session) Traits() engine.Traits                                { return s.w.traits }
func (s session) Idle() bool                                           { return !s.tx }
func (s session) Close()                                               {}
func (s session) Group(context.Context, []*engine.Call) engine.Outcome { panic("there are no groups") }
func (s session) Alone(c *engine.Call) (driver.Result, error) {
	return s.ExecContext(c.Context(), c.Query, c.Args)
}

func (c *wire) ExecContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Result, error) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.w.log = append(c.w.log, query)
	switch {
	case strings.HasPrefix(query, "BEGIN"):
		c.tx = true
	case c.lost && (query == "COMMIT" || query == "ROLLBACK"):
		return nil, errLost
	case query == "COMMIT", query == "ROLLBACK", strings.Contains(query, "UNDO"):
		c.tx = false
	}
	c.lost = c.lost || strings.Contains(query, "LOSE")
	if strings.Contains(query, "FAIL") {
		return nil, errFailed
	}
	return driver.RowsAffected(1), nil
}

func (c *wire) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	_, err := c.ExecContext(ctx, query, args)
	return &twoRows{}, err
}

func (c *wire) Prepare(string) (driver.Stmt, error) {
	return nil, errors.New("nothing is prepared here")
}
func (c *wire) Begin() (driver.Tx, error) {
	_, err := c.ExecContext(context.Background(), "BEGIN", nil)
	return begun{c}, err
}

func (c *wire) Close() error {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.w.log = append(c.w.log, "close")
	return nil
}

type twoRows struct{ n int }

func (r *twoRows) Columns() []string { return []string{"a"} }
func (r *twoRows) Close() error      { return nil }
func (r *twoRows) Next(dest []driver.Value) error {
	if r.n++; r.n > 2 {
		return io.EOF
	}
	dest[0] = int64(r.n)
	return nil
}
