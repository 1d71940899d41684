package groupcommit

import (
	"context"
	"database/sql/driver"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/turn"
)

// What the physical connections need of the database.

// engineFor returns the database's engine, which the first physical connection decides.
func (d *database) engineFor(conn driver.Conn) Engine {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.engine == nil {
		d.engine = engine.Find(conn)
	}
	return d.engine
}

func (d *database) settings() engine.Settings {
	return engine.Settings{DSN: d.dsn, Connector: d.parent, Mode: d.limits.mode, LockTimeout: d.limits.lockWait, MaxTime: d.limits.maxTime, Promises: d.limits.promises, Spelling: d.limits.spelled, Schema: d.altered.Load}
}

// openSession makes the session of a new physical connection.
func (d *database) openSession(ctx context.Context, raw driver.Conn) (engine.Session, error) {
	return d.engineFor(raw).Open(ctx, raw, d.settings())
}

// turnToOpen takes the writer's turn for the opening of a connection, where that may write.
func (d *database) turnToOpen(ctx context.Context) (leave func(), err error) {
	t := d.traits.Load()
	if t == nil || !t.OpenWrites {
		return func() {}, nil
	}
	turn := turn.New()
	if err := d.takeTurn(ctx, turn, nil, time.Now()); err != nil {
		return nil, err
	}
	return func() { d.writer.Leave(turn) }, nil
}

// refresh learns from a session what a setting has changed of the database's traits.
func (d *database) refresh(s engine.Session, setting string) {
	r, ok := s.(engine.Refresher)
	if !ok {
		return
	}
	t := r.Refresh(*d.traits.Load(), setting)
	d.traits.Store(&t)
}
