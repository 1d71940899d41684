package groupcommit

import (
	"context"
	"database/sql"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/deadline"
	"github.com/groupcommit/groupcommit/internal/physical"
	"github.com/groupcommit/groupcommit/internal/turn"
)

// An opening is the first use of a database, by one of its callers on behalf of all. It takes connections that no pool's
// limit bounds, and a program that starts may have a thousand callers at once.
type opening struct {
	done chan struct{} // closed when the opening is over
	err  error         // written before done is closed
	left bool          // likewise: the opening failed because its caller's context ended
}

// ready returns the database's traits. The first caller opens the database, and the others wait. If the opening fails, the
// next caller tries. A caller that has waited for a whole opening that failed, begun after its own call, gets that opening's
// error. Otherwise, if a database answers no caller, the last caller would wait for as long as all callers before it
// together.
func (d *database) ready(ctx context.Context) (*engine.Traits, error) {
	if t := d.Traits.Load(); t != nil {
		return t, nil
	}
	for failed := 0; ; {
		d.mu.Lock()
		if t := d.Traits.Load(); t != nil { // an opening may have ended meanwhile
			d.mu.Unlock()
			return t, nil
		}
		o := d.opening
		if o == nil {
			o = &opening{done: make(chan struct{})}
			d.opening = o
			d.mu.Unlock()
			return d.openFor(ctx, o)
		}
		d.mu.Unlock()
		select {
		case <-o.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if o.err != nil && !o.left {
			if failed++; failed > 1 {
				return nil, o.err
			}
		}
	}
}

func (d *database) openFor(ctx context.Context, o *opening) (t *engine.Traits, err error) {
	defer func() { // also after a panic in a hook of the user's
		o.err, o.left = err, deadline.Over(ctx)
		d.mu.Lock()
		d.opening = nil
		d.mu.Unlock()
		close(o.done)
	}()
	return d.open(ctx)
}

// openLedger makes sure that the ledger's table is there, and sets the ledger.
func (d *database) openLedger(ctx context.Context, t *engine.Traits, w *turn.Writer, l physical.Lease) error {
	if !d.limits.promises {
		return nil
	}
	dialect := map[engine.Dialect]durable.Dialect{engine.SQLiteSQL: durable.SQLite, engine.PostgresSQL: durable.PostgreSQL}[t.Dialect]
	if !t.Ledger || dialect == 0 {
		return badOption(d.limits.spelled("Promises"), "on", "on this database only off")
	}
	db := l.SQL()
	defer db.Close()
	q := tableTurns{db, w, t}
	if t.OneConn {
		// The one connection is used in the writer's turn only, so the turn is the way to wait for it.
		turn := turn.New()
		if err := q.take(ctx, turn); err != nil {
			return err
		}
		defer w.Leave(turn)
		q.writer = nil
	}
	if err := dialect.Prepare(ctx, q); err != nil {
		return err
	}
	q.Querier = d.Pool.DB()
	d.dialect, d.ledger = dialect, dialect.NewStore(q)
	return nil
}

// tableTurns makes each Exec take the writer's turn. It is for statements that are not part of a group: those that make the
// table, the completion of a promise whose timeout has passed, and the deletion of old promises. Reading needs no turn.
type tableTurns struct {
	durable.Querier
	writer *turn.Writer // nil on a database without turns, or if the caller has the turn
	traits *engine.Traits
}

func (q tableTurns) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	turn := turn.New()
	if err := q.take(ctx, turn); err != nil {
		return nil, err
	}
	defer q.writer.Leave(turn)
	return q.Querier.ExecContext(physical.InTurn(ctx, tableTurn{q, turn}), query, args...)
}

// tableTurn is the turn of one Exec.
type tableTurn struct {
	of   tableTurns
	turn *turn.Turn
}

func (t tableTurn) Yield()                           { t.of.writer.Leave(t.turn) }
func (t tableTurn) Regain(ctx context.Context) error { return t.of.take(ctx, t.turn) }

func (q tableTurns) take(ctx context.Context, turn *turn.Turn) error {
	return q.writer.Take(ctx, turn, nil, q.traits.BusyWait, q.traits.Busy)
}
