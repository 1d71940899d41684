package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/command"
	"github.com/groupcommit/groupcommit/internal/turn"
	"github.com/groupcommit/groupcommit/internal/virtual"
)

// The database is the Host of the connections that database/sql pools, and the environment of the physical ones.

var _ virtual.Host = (*database)(nil)

// connect makes a connection for the program's pool.
func (d *database) connect() *virtual.Conn { return virtual.New(d, &d.Base, true) }

// newConn makes a connection outside of the program's pool.
func (d *database) newConn() *virtual.Conn { return virtual.New(d, &d.Base, false) }

// Ready opens the database at its first use.
func (d *database) Ready(ctx context.Context) (*engine.Traits, error) { return d.ready(ctx) }

// Exec has a group run a call.
func (d *database) Exec(ctx context.Context, c *virtual.Conn, e virtual.Exec) (driver.Result, error) {
	x, err := d.run(ctx, c, e, nil)
	if err != nil {
		d.Failed(ctx, err)
		return nil, err
	}
	defer x.free()
	if err := x.Err(); err != nil {
		d.Failed(ctx, err)
	}
	return x.Get()
}

// Query has a group run a query.
func (d *database) Query(ctx context.Context, c *virtual.Conn, e virtual.Exec) (driver.Rows, error) {
	x, err := d.run(ctx, c, e, nil)
	if err != nil {
		d.Failed(ctx, err)
		return nil, err
	}
	defer x.free()
	if x.IsLarge() {
		d.Large.Note(e.Text.Query)
	}
	if x.IsPutOff() {
		return nil, nil
	}
	if err := x.Err(); err != nil {
		d.Failed(ctx, err)
	}
	return x.Rows()
}

// Committed makes the keepers look for commands that a transaction may have added.
func (d *database) Committed() { d.wakeRunners() }

// engineFor returns the database's engine, which the first physical connection decides.
func (d *database) engineFor(conn driver.Conn) Engine {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.engine == nil {
		d.engine = engine.Find(conn, d.parent)
	}
	return d.engine
}

// openSession makes the session of a new physical connection.
func (d *database) openSession(ctx context.Context, raw driver.Conn) (engine.Session, error) {
	l := &d.limits
	s := engine.Settings{DSN: d.dsn, Connector: d.parent, Mode: l.mode, Sync: l.sync, LockTimeout: l.lockWait, MaxTime: l.maxTime, ManyRows: l.manyRows, Promises: l.promises, Spelling: l.spelled, Schema: d.Altered.Load}
	return d.engineFor(raw).Open(ctx, raw, s)
}

// turnToOpen takes the writer's turn for the opening of a connection, where the opening may write.
func (d *database) turnToOpen(ctx context.Context) (leave func(), err error) {
	t := d.Traits.Load()
	if t == nil || !t.OpenWrites {
		return func() {}, nil
	}
	turn := turn.New()
	if err := d.TakeTurn(ctx, turn, nil, time.Now()); err != nil {
		return nil, err
	}
	return func() { d.Writer.Leave(turn) }, nil
}

// noRoom reports that the server has refused a connection for lack of room.
func (d *database) noRoom(err error) bool {
	t := d.Traits.Load()
	return t != nil && t.NoRoom != nil && t.NoRoom(err)
}

// refresh updates the database's traits after a setting on a session.
func (d *database) refresh(s engine.Session, setting string) {
	r, ok := s.(engine.Refresher)
	if !ok {
		return
	}
	t := r.Refresh(*d.Traits.Load(), setting)
	d.Traits.Store(&t)
}

// virtualConnector opens connections for the library itself.
type virtualConnector struct{ db *database }

func (c virtualConnector) Connect(context.Context) (driver.Conn, error) { return c.db.newConn(), nil }
func (c virtualConnector) Driver() driver.Driver                        { return c.db.parent.Driver() }

// A commandHost is a database as commands see it.
type commandHost struct{ db *database }

var (
	_ command.Host = commandHost{}
	_ command.Tx   = (*virtual.HandlerTx)(nil)
)

func (h commandHost) DB() *sql.DB                                   { return h.db.virtual }
func (h commandHost) Leave(t *turn.Turn)                            { h.db.Writer.Leave(t) }
func (h commandHost) Patience() (time.Duration, error)              { return h.db.patience() }
func (h commandHost) Transient(err error) bool                      { return h.db.transient(err) }
func (h commandHost) Keeps(id string) error                         { return h.db.keeps(id) }
func (h commandHost) WithoutID(ctx context.Context) context.Context { return virtual.WithoutID(ctx) }
func (h commandHost) Added()                                        { h.db.added.Store(true) }
func (h commandHost) Traits() *engine.Traits                        { return h.db.Traits.Load() }

func (h commandHost) Enter(ctx context.Context, t *turn.Turn, since time.Time) error {
	return h.db.TakeTurn(ctx, t, nil, since)
}

func (h commandHost) Begin(ctx context.Context, t *turn.Turn) (command.Tx, error) {
	tx, err := virtual.BeginHandler(ctx, h.db.virtual, t)
	if err != nil {
		return nil, err // and not a nil *HandlerTx
	}
	return tx, nil
}
