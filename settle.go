package groupcommit

import (
	"context"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/physical"
	"github.com/groupcommit/groupcommit/internal/turn"
)

// How a group, or a call by itself, shares the sync that makes it durable: see engine.Deferrer. A group hands on its lead after
// the sync, and the writer's turn before it. If the lead went on before the sync, callers in a closed loop would fall into two
// cohorts, which pay a sync each.

// defers lets what is committed next on a connection share its sync, if others write, too. An error says that nothing must be
// written.
func (g *groups) defers(l physical.Lease, t *turn.Turn) (deferred bool, err error) {
	d, ok := l.Conn.Session.(engine.Deferrer)
	if !ok || g.Writer == nil {
		return false, nil
	}
	alone, err := d.Defer(g.Writer.Crowded(t), false)
	if err == nil {
		g.Syncs.Note(alone)
	}
	return true, err
}

// restore ends that. ok is false if the connection must not be used again.
func (g *groups) restore(l physical.Lease) (durable func() error, ok bool) {
	durable, err := l.Conn.Session.(engine.Deferrer).Restore()
	return durable, err == nil
}

// settle leaves the turn, and waits until what was committed is durable. took is the time of that.
func (g *groups) settle(durable func() error, t *turn.Turn) (took time.Duration, err error) {
	if durable == nil {
		return 0, nil
	}
	start := time.Now()
	g.Writer.Leave(t)
	err = g.Writer.Settle(durable)
	return time.Since(start), err
}

// keepTurn takes the turn again if settle has left it: there is more of a group to be run.
func (g *groups) keepTurn(ctx context.Context, t *turn.Turn) error {
	if g.Writer == nil || t == nil || g.Writer.Firm(t) {
		return nil
	}
	return g.TakeTurn(ctx, t, nil, time.Now())
}

// settled waits until what another transaction has committed is durable, before it is acknowledged.
func (d *database) settled() error {
	if t := d.Traits.Load(); t.Durable != nil {
		return t.Durable()
	}
	return nil
}
