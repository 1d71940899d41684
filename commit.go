package groupcommit

import (
	"context"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/abandon"
	"github.com/groupcommit/groupcommit/internal/physical"
)

// How a group is committed, until its outcome is known.

// commitUntilKnown runs a group until its outcome is known. When it runs the group again, the database holds nothing of it.
func (b *batcher) commitUntilKnown(execs []*exec, calls []*engine.Call) engine.Outcome {
	stale, failed, at := 0, 0, -1
	for {
		out, given := b.commitOnce(calls)
		if out.Verdict == engine.Unknown && out.Token != nil {
			out = b.resolve(b.of.groupContext(calls), out, given)
		}
		switch {
		case out.Verdict != engine.Refused:
			return out
		case given:
			return answerEnded(calls)
		case errors.Is(out.Err, driver.ErrBadConn) && stale < staleRetries:
			stale++
			b.of.renew(stale)
		case out.Again && out.Culprit >= 0 && out.Culprit == at: // twice at the same call: it may be the call
			return engine.Outcome{Verdict: engine.RolledBack, Culprit: at}
		case out.Again || b.of.transient(out.Err):
			failed++
			at = -1
			if out.Again {
				at = out.Culprit
			}
			if !b.of.limits.retryPolicy().pause(context.Background(), failed) {
				return out
			}
		default:
			return out
		}
		b.of.Ends.Retried()
		reset(calls)
	}
}

// commitOnce runs a group. given says that the group was given up because no caller waits for it any more.
func (b *batcher) commitOnce(calls []*engine.Call) (out engine.Outcome, given bool) {
	g := b.of
	ctx, cancel := withLimit(g.groupContext(calls), g.limits.maxTime)
	defer cancel()
	if g.Writer == nil {
		a := abandon.Watch(calls, cancel)
		defer func() { given = a.End() }()
	}
	if err := g.keepTurn(ctx, b.turn); err != nil {
		return engine.Outcome{Verdict: engine.Refused, Err: err}, given
	}
	p, err := g.Pool.Borrow(ctx, g.use(physical.Group, b.turn))
	if err != nil {
		return engine.Outcome{Verdict: engine.Refused, Err: err}, given
	}
	deferred, err := g.defers(p, b.turn)
	if err != nil {
		p.GiveBack(false)
		return engine.Outcome{Verdict: engine.Refused, Err: err}, given
	}
	out = engine.Outcome{Broken: true} // stays so after a panic
	defer func() {
		if deferred && !out.Broken {
			durable, ok := g.restore(p)
			b.durable, out.Broken = durable, !ok
		}
		if out.Broken && g.Writer == nil && (out.Verdict == engine.Unknown || ctx.Err() != nil) { // other connections may be broken, too
			g.Pool.Renew()
		}
		if out.Broken {
			p.Discard()
		} else {
			p.GiveBack(true)
		}
	}()
	out = p.Conn.Session.Group(ctx, calls)
	out.Broken = out.Broken || errors.Is(out.Err, driver.ErrBadConn)
	return out, given
}

// askAgain is the time between two questions about a group that the database is still busy with.
const askAgain = 20 * time.Millisecond

// asking is the policy of one more question.
var asking = Constant(askAgain, 1)

// Each question has its own time limit, because the connection that carries it may be silent. The limit is askWithin for the
// first question, and doubles after each that ran into it. If a group was given up, its callers' time is over: the library
// asks for no longer than askGiven.
const (
	askWithin = time.Second
	askGiven  = 5 * time.Second
)

// resolve asks the database for the outcome of a group whose answer to COMMIT was lost. given: the group was given up.
func (b *batcher) resolve(ctx context.Context, lost engine.Outcome, given bool) engine.Outcome {
	limit := b.of.limits.maxTime
	if given {
		limit = min(limit, askGiven)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	again := Constant(askAgain, int(limit/askAgain))
	within := askWithin
	for asked := 1; ; asked++ {
		verdict, err := b.ask(ctx, lost.Token, within)
		if errors.Is(err, context.DeadlineExceeded) {
			within *= 2
		}
		switch {
		case err == nil && verdict == engine.Committed:
			return engine.Outcome{}
		case err == nil && verdict == engine.RolledBack:
			if lost.Culprit >= 0 && errors.Is(lost.Err, context.DeadlineExceeded) {
				// One call took all the time. It must not cost the other calls their time, nor be ended for good.
				return engine.Outcome{Verdict: engine.RolledBack, Culprit: lost.Culprit}
			}
			return engine.Outcome{Verdict: engine.Refused, Err: lost.Err, Again: true, Culprit: lost.Culprit}
		case err == nil, !again.pause(ctx, asked):
			return lost
		}
	}
}

func (b *batcher) ask(ctx context.Context, token any, within time.Duration) (engine.Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	p, err := b.of.Pool.Borrow(ctx, physical.Use{For: physical.Group})
	if err != nil {
		return engine.Unknown, err
	}
	defer func() { p.Done(err, false) }()
	r, ok := p.Conn.Session.(engine.Resolver)
	if !ok {
		return engine.Unknown, nil
	}
	verdict, err := r.Resolve(ctx, token)
	return verdict, err
}

// answerEnded answers the calls of a group that was given up and left nothing behind. Each call gets the error that it would
// have got if no group had claimed it.
func answerEnded(calls []*engine.Call) engine.Outcome {
	for _, c := range calls {
		c.Reset()
		c.Answer(nil, c.Context().Err())
	}
	return engine.Outcome{}
}
