package groupcommit

import (
	"context"
	"database/sql/driver"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/physical"
	"github.com/groupcommit/groupcommit/internal/turn"
)

// How a call runs by itself: as the plain driver would run it.

// alone runs a call that has the batcher's turn.
func (b *batcher) alone(e *exec) {
	if b.of.abreast && e.detached {
		b.of.apart(e) // nothing else bounds how many there are
	} else {
		b.of.solo(e)
	}
}

// Apart runs a call that its group has put off. The group's turn has ended.
func (b *batcher) Apart(e *exec) { b.of.apart(e) }

// mostApart bounds the connections for calls that were put off. There may be thousands of them at once, and a server
// has room for a hundred connections. Calls that wait for a lock have room of their own, so that they keep it from none
// that would be done at once.
const (
	mostApart   = 24
	mostBlocked = 40
)

// apart runs a call in its own caller's goroutine, or in that of its promise, beside the groups.
func (g *groups) apart(e *exec) {
	defer e.Conclude()
	if g.Writer != nil {
		g.inTurn(e)
		return
	}
	leave, err := g.bounded(e.Context())
	if err != nil {
		e.Answer(nil, err)
		return
	}
	defer leave()
	g.solo(e)
}

// bounded waits for room among the calls that were put off. One that takes long moves to the room of those that wait for a lock.
func (g *groups) bounded(ctx context.Context) (leave func(), err error) {
	select {
	case g.apartRoom <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var mu sync.Mutex
	room := g.apartRoom
	clock := time.AfterFunc(overtime, func() {
		mu.Lock()
		defer mu.Unlock()
		if room == nil { // it is over
			return
		}
		select {
		case g.blockedRoom <- struct{}{}:
			<-room
			room = g.blockedRoom
		default: // too many; it stays where it is
		}
	})
	return func() {
		clock.Stop()
		mu.Lock()
		defer mu.Unlock()
		<-room
		room = nil
	}, nil
}

// inTurn is apart where there is one writer: the leader's turn has ended, so the call takes one of its own.
func (g *groups) inTurn(e *exec) {
	t := turn.New()
	if err := g.TakeTurn(e.Context(), t, nil, time.Now()); err != nil {
		e.Answer(nil, err)
		return
	}
	defer g.Writer.Leave(t)
	g.solo(e)
}

// solo runs one call by itself, and again where the error is transient. A call of which it is not known what became of an
// earlier attempt runs until its claim has told, also where the policy has had enough: for as long as a group is asked about.
func (g *groups) solo(e *exec) {
	stale, failed := 0, 0
	var until time.Time
	defer e.Conclude()
	for {
		g.runOnce(e)
		if unknown := (*OutcomeUnknownError)(nil); e.ID() != "" && errors.As(e.Err(), &unknown) {
			e.Doubt(unknown.Cause)
		}
		doubted := e.Doubted() != nil
		switch err := e.Err(); {
		case err == nil:
			return
		case e.detached && errors.Is(err, driver.ErrBadConn) && stale < staleRetries:
			stale++ // database/sql runs a blocking Exec again; a promise has nothing behind it that would
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

// runOnce runs a call on a connection of the pool, or on the one that is kept for its own connection's next use.
func (g *groups) runOnce(e *exec) {
	p, err := g.borrowFor(e)
	if err != nil {
		e.Answer(nil, err)
		return
	}
	ok := false
	defer func() { // also of runtime.Goexit
		switch {
		case !ok:
			p.Discard() // it is not known what the panic left open
		case e.home != nil:
			e.home.EndCall(p, e.Err(), g.Writer != nil)
		default:
			p.Done(e.Err(), g.Writer != nil)
		}
	}()
	ok = e.Try(p.Conn.Session.Alone)
}

func (g *groups) borrowFor(e *exec) (physical.Lease, error) {
	if e.home != nil {
		return e.home.BorrowForCall(e.Context(), g.Writer != nil)
	}
	return g.Pool.Borrow(e.Context(), g.Writer != nil)
}

// Where a hook reads the caller's context and nothing says which callers are alike, each call runs by itself.

// apiece reports that there are no groups, because of a hook.
func apiece(t *engine.Traits, l *limits) bool { return t.Hook != "" && l.partition == nil }

// warn says once of a database that it is apiece.
func warn(t *engine.Traits) {
	slog.Warn("groupcommit: calls are not grouped, because a hook reads the context of each caller; the option Partition says which callers may share a group", "hook", t.Hook)
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

// runApiece runs a call as the plain driver does, and answers it. There may be any number of promises: they have bounded room.
func (g *groups) runApiece(e *exec) {
	if e.detached {
		g.apart(e)
	} else {
		g.solo(e)
	}
}
