package groupcommit

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/internal/physical"
	"github.com/groupcommit/groupcommit/internal/turn"
)

// A lane is the way of one group at a time to the database: the environment of one batcher.
type lane struct {
	*database
	turn *turn.Turn // one leader at a time uses it
}

func (l *lane) enter(ctx context.Context, since time.Time) error {
	return l.TakeTurn(ctx, l.turn, nil, since)
}

func (l *lane) leave() { l.Writer.Leave(l.turn) }

// overtime is how long the others wait behind a call that runs alone, where they need not wait at all.
const overtime = 100 * time.Millisecond

func (l *lane) overtime() time.Duration {
	if l.abreast {
		return overtime
	}
	return 0
}

// alone runs a call on a connection that no group waits for, if it may be left alone with it.
func (l *lane) alone(c *call) {
	switch {
	case !l.abreast:
		l.solo(c)
	case c.promise != nil:
		l.apart(c) // nothing else bounds how many there are
	default:
		l.solo(c)
	}
}

// mostApart bounds the connections for calls that were put off. There may be thousands of them at once, and a server
// has room for a hundred connections. Calls that wait for a lock have room of their own, so that they keep it from nobody
// who would be done at once.
const (
	mostApart   = 24
	mostBlocked = 40
)

func (l *lane) apart(c *call) {
	defer c.Conclude()
	if l.Writer != nil {
		l.inTurn(c)
		return
	}
	select {
	case l.apartRoom <- struct{}{}:
	case <-c.Context().Done():
		c.Answer(nil, c.Context().Err())
		return
	}
	var mu sync.Mutex
	room := l.apartRoom
	clock := time.AfterFunc(overtime, func() {
		mu.Lock()
		defer mu.Unlock()
		if room == nil { // it is over
			return
		}
		select {
		case l.blockedRoom <- struct{}{}:
			<-room
			room = l.blockedRoom
		default: // too many; it stays where it is
		}
	})
	defer func() {
		clock.Stop()
		mu.Lock()
		defer mu.Unlock()
		<-room
		room = nil
	}()
	l.solo(c)
}

// inTurn is apart where there is one writer: the leader's turn has ended, so the call takes one of its own.
func (l *lane) inTurn(c *call) {
	t := turn.New()
	if err := l.TakeTurn(c.Context(), t, nil, time.Now()); err != nil {
		c.Answer(nil, err)
		return
	}
	defer l.Writer.Leave(t)
	l.solo(c)
}

// solo runs one call by itself, and again where the error is transient. A call of which it is not known what became of an
// earlier attempt runs until its claim has told, also where the policy has had enough: for as long as a group is asked about.
func (l *lane) solo(c *call) {
	stale, failed := 0, 0
	var until time.Time
	defer c.Conclude()
	for {
		l.runOnce(c)
		if unknown := (*OutcomeUnknownError)(nil); c.ID() != "" && errors.As(c.Err(), &unknown) {
			c.Doubt(unknown.Cause)
		}
		switch err := c.Err(); {
		case err == nil:
			return
		case c.promise != nil && errors.Is(err, driver.ErrBadConn) && stale < staleRetries:
			stale++ // database/sql runs a blocking Exec again; a promise has nobody behind it
			l.renew(stale)
		case l.transient(err), c.Doubted() != nil:
			failed++
			if c.Doubted() != nil && until.IsZero() {
				until = time.Now().Add(l.limits.maxTime)
			}
			if l.limits.retryPolicy().pause(c.Context(), failed) {
				break
			}
			if c.Doubted() == nil || time.Now().After(until) || !asking.pause(c.Context(), 1) {
				return
			}
		default:
			return
		}
	}
}

func (l *lane) runOnce(c *call) {
	var p physical.Lease
	var err error
	if c.home != nil {
		p, err = c.home.BorrowForCall(c.Context(), l.Writer != nil)
	} else {
		p, err = l.Pool.Borrow(c.Context(), l.Writer != nil)
	}
	if err != nil {
		c.Answer(nil, err)
		return
	}
	ok := false
	defer func() { // also of runtime.Goexit
		switch {
		case !ok:
			p.Discard() // nobody knows what the panic left open
		case c.home != nil:
			c.home.EndCall(p, c.Err(), l.Writer != nil)
		default:
			p.Done(c.Err(), l.Writer != nil)
		}
	}()
	ok = c.Try(p.Conn.Session.Alone)
}

func (d *database) transient(err error) bool {
	t := d.Traits.Load()
	return t != nil && t.Transient != nil && t.Transient(err)
}

// staleRetries is how often a group or a promise looks for a connection that is not stale: database/sql's own number.
const staleRetries = 2

// renew has the last of those tries use a connection that is new.
func (d *database) renew(stale int) {
	if stale == staleRetries && !d.Traits.Load().OneConn {
		d.Pool.Renew()
	}
}

// commit runs a group until it is known what became of it. Nothing of it is in the database when it runs again.
func (l *lane) commit(calls []*call) engine.Outcome {
	defer l.room(calls)()
	stale, failed, at := 0, 0, -1
	for {
		out, given := l.commitOnce(calls)
		if out.Verdict == engine.Unknown && out.Token != nil {
			out = l.resolve(l.groupContext(calls), out, given)
		}
		switch {
		case out.Verdict != engine.Refused:
			return out
		case given:
			return answerEnded(calls)
		case errors.Is(out.Err, driver.ErrBadConn) && stale < staleRetries:
			stale++
			l.renew(stale)
		case out.Again && out.Culprit >= 0 && out.Culprit == at: // twice at the same call: it may be the call
			return engine.Outcome{Verdict: engine.RolledBack, Culprit: at}
		case out.Again || l.transient(out.Err):
			failed++
			at = -1
			if out.Again {
				at = out.Culprit
			}
			if !l.limits.retryPolicy().pause(context.Background(), failed) {
				return out
			}
		default:
			return out
		}
	}
}

// commitOnce runs a group. given says that it was given up because nobody waits for it any more.
func (l *lane) commitOnce(calls []*call) (out engine.Outcome, given bool) {
	ctx, cancel := context.WithTimeout(l.groupContext(calls), l.limits.maxTime)
	defer cancel()
	for _, c := range calls {
		c.Reset()
	}
	if l.Writer == nil {
		a := abandon(calls, cancel)
		defer func() { given = a.end() }()
	}
	p, err := l.Pool.Borrow(ctx, true)
	if err != nil {
		return engine.Outcome{Verdict: engine.Refused, Err: err}, given
	}
	out = engine.Outcome{Broken: true} // what a panic leaves
	defer func() {
		if out.Broken && l.Writer == nil && (out.Verdict == engine.Unknown || ctx.Err() != nil) { // as are the others, perhaps
			l.Pool.Renew()
		}
		if out.Broken {
			p.Discard()
		} else {
			p.GiveBack(true)
		}
	}()
	out = p.Conn.Session.Group(ctx, engineCalls(calls))
	out.Broken = out.Broken || errors.Is(out.Err, driver.ErrBadConn)
	return out, given
}

// askAgain is the time between two questions about a group that the database is still busy with.
const askAgain = 20 * time.Millisecond

// asking is the policy of one more question.
var asking = Constant(askAgain, 1)

// Each question has a limit of its own, because the connection that it goes by may be silent: that is askWithin for the first,
// and twice as much for each that follows. A group that was given up has callers whose time is over: it is asked about for
// askGiven.
const (
	askWithin = time.Second
	askGiven  = 5 * time.Second
)

// resolve asks the database what became of a group whose answer to COMMIT was lost. given says that the group was given up.
func (l *lane) resolve(ctx context.Context, lost engine.Outcome, given bool) engine.Outcome {
	limit := l.limits.maxTime
	if given {
		limit = min(limit, askGiven)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	again := Constant(askAgain, int(limit/askAgain))
	within := askWithin
	for asked := 1; ; asked++ {
		verdict, err := l.ask(ctx, lost.Token, within)
		if errors.Is(err, context.DeadlineExceeded) {
			within *= 2
		}
		switch {
		case err == nil && verdict == engine.Committed:
			return engine.Outcome{}
		case err == nil && verdict == engine.RolledBack:
			if lost.Culprit >= 0 && errors.Is(lost.Err, context.DeadlineExceeded) {
				// One call took all the time: it must not cost the others theirs, nor be ended for good.
				return engine.Outcome{Verdict: engine.RolledBack, Culprit: lost.Culprit}
			}
			return engine.Outcome{Verdict: engine.Refused, Err: lost.Err, Again: true, Culprit: lost.Culprit}
		case err == nil, !again.pause(ctx, asked):
			return lost
		}
	}
}

func (l *lane) ask(ctx context.Context, token any, within time.Duration) (engine.Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	p, err := l.Pool.Borrow(ctx, false)
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
