package groupcommit

import (
	"database/sql/driver"
	"errors"
	"log/slog"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/applog"
	"github.com/groupcommit/groupcommit/internal/physical"
	"github.com/groupcommit/groupcommit/internal/turn"
)

// How a call runs by itself, as the plain driver would run it.

// runInLead runs a call that has the batcher's turn.
func (b *batcher) runInLead(e *exec) {
	switch {
	case e.lead != nil: // its caller is the leader
		e.home.TakeOver(b.turn)
		e.Answer(nil, e.lead())
	case b.of.abreast && e.detached:
		b.of.runBeside(e) // no caller of its own brings a connection of the program's pool
	default:
		b.of.runRetrying(e, b.of.use(physical.Program, b.turn))
	}
}

// RunPutOff runs a call that its group has put off. The group's turn has ended. A query without an id runs where its connection sees fit.
func (b *batcher) RunPutOff(e *exec) {
	if e.lead == nil {
		start := time.Now()
		b.of.runBeside(e)
		b.of.tellPutOff(e, start)
	}
}

// runBeside runs a call beside the groups, in its caller's goroutine or in its promise's.
func (g *groups) runBeside(e *exec) {
	defer e.Conclude()
	if g.Writer != nil {
		g.runInTurn(e)
		return
	}
	g.runRetrying(e, g.use(physical.PutOff, nil))
}

// runInTurn is runBeside on a database with one writer. The leader's turn has ended, so the call takes its own.
func (g *groups) runInTurn(e *exec) {
	t := turn.New()
	if err := g.TakeTurn(e.Context(), t, nil, time.Now()); err != nil {
		e.Answer(nil, err)
		return
	}
	defer g.Writer.Leave(t)
	g.runRetrying(e, g.use(physical.PutOff, t))
}

// runRetrying runs one call by itself, and again after a transient error. A call in doubt (an earlier attempt has an unknown
// outcome) runs until its claim has told, even after the policy has given up: for as long as the library asks about a group.
func (g *groups) runRetrying(e *exec, u physical.Use) {
	stale, failed := 0, 0
	var until time.Time
	defer e.Conclude()
	for tried := false; ; tried = true {
		if tried {
			g.Ends.Retried()
		}
		g.runOnce(e, u)
		if unknown := (*OutcomeUnknownError)(nil); e.ID() != "" && errors.As(e.Err(), &unknown) {
			e.Doubt(unknown.Cause)
		}
		doubted := e.Doubted() != nil
		switch err := e.Err(); {
		case err == nil:
			return
		case e.detached && errors.Is(err, driver.ErrBadConn) && stale < staleRetries:
			stale++ // database/sql runs a blocking Exec again, but not a promise
			g.renew(stale)
		case g.transient(err), doubted:
			failed++
			if doubted && until.IsZero() {
				until = time.Now().Add(g.limits.maxTime)
			}
			if g.limits.retryPolicy().pause(e.Context(), failed) {
				break
			}
			if !doubted || time.Now().After(until) || !asking.pause(e.Context(), 1) {
				return
			}
		default:
			return
		}
	}
}

// runOnce runs a call on a physical connection. A panic is the call's outcome, also one in a hook that opens the connection:
// the goroutine may be a promise's, or a neighbour's.
func (g *groups) runOnce(e *exec, u physical.Use) {
	engine.Catch(func() { g.runOnLease(e, u) }, func(p *PanicError) {
		e.SetOutcome(engine.Answer{Err: p, Panicked: true})
	})
}

// runOnLease runs a call on a connection that the call's own connection leases if there is one.
func (g *groups) runOnLease(e *exec, u physical.Use) {
	e.Reset() // what a hook leaves that ends its goroutine
	y, _ := u.Turn.(yielding)
	err := g.keepTurn(e.Context(), y.turn)
	var p physical.Lease
	if err == nil {
		p, err = g.borrowFor(e, u)
	}
	if err != nil {
		e.Answer(nil, err)
		return
	}
	deferred, err := g.defers(p, y.turn)
	if err != nil {
		p.GiveBack(false)
		e.Answer(nil, err)
		return
	}
	ok := false
	var durable func() error
	defer func() { // also of runtime.Goexit
		if deferred && ok {
			durable, ok = g.restore(p)
		}
		switch {
		case !ok:
			p.Discard() // it is not known what the panic left open
		case e.home != nil:
			e.home.EndCall(p, e.Err(), g.Writer != nil)
		default:
			p.Done(e.Err(), g.Writer != nil)
		}
		if _, err := g.settle(durable, y.turn); err != nil {
			e.Answer(nil, &OutcomeUnknownError{ID: e.ID(), Cause: err})
		}
	}()
	ok = e.Try(p.Conn.Session.Alone)
}

func (g *groups) borrowFor(e *exec, u physical.Use) (physical.Lease, error) {
	if e.home != nil {
		return e.home.BorrowForCall(e.Context(), u)
	}
	return g.Pool.Borrow(e.Context(), u)
}

// Where a hook reads the caller's context and no Partition says which callers are alike, each call runs by itself.

// apiece reports that there are no groups, because of a hook.
func apiece(t *engine.Traits, l *limits) bool { return t.Hook != "" && l.partition == nil }

// warn logs, once for a database, that its calls are not grouped.
func warn(t *engine.Traits) {
	applog.Write(slog.LevelWarn, "groupcommit: calls are not grouped, because a hook reads the context of each caller; the option Partition says which callers may share a group", "hook", t.Hook)
}

// during runs f as one of the calls that close waits for.
func (b *batcher) during(f func()) error {
	if !b.queue.Accept() {
		return ErrClosed
	}
	defer b.queue.Release()
	f()
	return nil
}

// runApiece runs a call as the plain driver does, and answers it.
func (g *groups) runApiece(e *exec) {
	if e.detached {
		g.runBeside(e)
	} else {
		g.runRetrying(e, g.use(physical.Program, nil))
	}
}
