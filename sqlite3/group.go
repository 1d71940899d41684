//go:build cgo

package sqlite3

import (
	"context"
	"runtime"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/engine"
)

// Group runs calls in one transaction.
//
// If a failed call leaves the rows that autocommit leaves, its caller gets the error and the others go on (see remains). If
// it may have left others, the transaction is rolled back and runs once more, with savepoints around the failed call and
// around every call behind it, so that no other failure costs another run. A savepoint undoes the same as autocommit. The
// text is guarded from then on, also in other groups.
//
// Rejected: a savepoint around every call, which costs as much as a small INSERT. Rejected, too: to leave the culprit to the
// batcher, which runs it alone. With one failing call in 20, a thousand calls would end in a thousand transactions.
func (s *session) Group(_ context.Context, calls []*engine.Call) (out engine.Outcome) {
	if s.unprotected() {
		warnUnprotected(s.lite.GetFilename("main"))
		return engine.Outcome{Verdict: engine.RolledBack, Culprit: -1}
	}
	g := group{session: s, calls: calls}
	if !s.hasGuests() {
		g.run()
		return g.out
	}
	// runtime.Goexit in a function must end no caller but its own.
	ended := make(chan bool)
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		g.run()
	}()
	<-ended
	return g.out
}

// group is one group on its way.
type group struct {
	*session
	calls []*engine.Call
	at    int  // the call that is executed
	guard int  // from this call on, each has a savepoint
	again bool // the group is to run once more
	out   engine.Outcome

	whole     bool // the transaction may be opened and ended in segments
	opened    bool // it is open, or was
	committed bool
	members   time.Duration              // that the calls took
	found     map[string]durable.Promise // what the ledger has of the calls
	plan      plan
}

// run runs the group until its outcome is known. No panic passes through it.
func (g *group) run() {
	returned := false
	defer func() {
		if !returned {
			g.left(recover() == nil)
		}
	}()
	g.guard = len(g.calls)
	for g.again = true; g.again; {
		g.again = false
		g.transaction()
	}
	returned = true
}

// transaction runs the group's transaction.
func (g *group) transaction() {
	g.at, g.words.locked, g.opened, g.committed, g.found = 0, false, false, false, nil
	defer func() { g.fresh = false }()
	defer g.ledger.forget()
	if g.whole = g.mayPlan() && g.own.made() && !g.hasIDs(); !g.whole && !g.open() {
		return
	}
	began := time.Now()
	for g.at < len(g.calls) {
		if !g.advance() {
			return
		}
	}
	if g.committed {
		return
	}
	g.members = time.Since(began)
	if g.ledger.write(g.found) != nil {
		g.undo(-1)
		return
	}
	g.finish()
}

// open begins the transaction, and reports whether it can go on.
func (g *group) open() (on bool) {
	if err := g.begin(); err != nil {
		g.out = engine.Outcome{Verdict: engine.RolledBack, Culprit: -1}
		if isBusy(err) { // the others would only wait for as long
			g.out = engine.Outcome{Verdict: engine.Refused, Err: err}
		}
		return false
	}
	return g.prepareCalls()
}

// prepareCalls is for a transaction that has begun.
func (g *group) prepareCalls() (on bool) {
	if g.do(&g.own.schema, schemaText) != nil {
		return g.undo(-1)
	}
	g.know()
	var err error
	if g.found, err = g.ledger.claim(g.calls); err != nil {
		return g.undo(-1) // each call gets its own error, and a call without an id none
	}
	return true
}

func (g *group) know() {
	g.opened = true
	g.fresh = len(g.files) == 1 // no other connection can change it before the transaction ends
}

// advance executes the next calls, one or more, and reports whether the transaction can go on.
func (g *group) advance() (on bool) {
	if g.makePlan() {
		return g.cross()
	}
	if !g.opened {
		return g.open()
	}
	c := g.calls[g.at]
	if p, ok := g.found[c.ID()]; ok {
		c.Answer(c.Replay(p))
	} else if !g.execute(c) {
		return false
	}
	g.at++
	return true
}

// execute executes the current call, and reports whether the transaction can go on.
func (g *group) execute(c *engine.Call) (on bool) {
	guard := g.at >= g.guard || guarded.has(c.Query)
	if guard && g.do(&g.own.savepoint, savepointText) != nil {
		return g.undo(-1)
	}
	g.unread = nil
	if !c.Try(g.inTurn) {
		return g.lose(g.at)
	}
	if g.unread != nil {
		return g.undo(g.at)
	}
	return g.executed(c, guard)
}

// lose ends a transaction whose connection cannot be used any more, because the program's code has panicked on it.
func (g *group) lose(culprit int) (on bool) {
	g.abandon()
	g.out = engine.Outcome{Verdict: engine.RolledBack, Culprit: culprit, Broken: true}
	return false
}

// executed looks at the answer of the current call, and reports whether the transaction can go on. guard says that there is a savepoint.
func (g *group) executed(c *engine.Call, guard bool) (on bool) {
	err := c.Err()
	// Only the connection knows whether the error has ended the transaction. The next statement would then commit by itself.
	if err != nil && g.lite.AutoCommit() {
		g.out = engine.Outcome{Verdict: engine.RolledBack, Culprit: g.at}
		return false
	}
	left := same
	if err != nil {
		left = g.remains(c, err)
	}
	switch {
	case left == unclear:
		return g.undo(g.at)
	case left == more && !guard:
		return g.retry(c)
	case left == more:
		if g.do(&g.own.rollbackTo, rollbackToText) != nil {
			return g.undo(g.at)
		}
		guarded.failed(c.Query)
	case guard && err == nil:
		guarded.passed(c.Query)
	}
	if guard && g.do(&g.own.release, releaseText) != nil {
		return g.undo(-1)
	}
	return true
}

// retry rolls back for a call that may have left rows, and has the group run again.
func (g *group) retry(c *engine.Call) (on bool) {
	guarded.failed(c.Query)
	g.undo(g.at)
	if g.out.Broken {
		return false
	}
	if g.guard < len(g.calls) { // it has failed before the call that failed last time
		g.at = 0
	}
	g.guard, g.again = g.at, true
	return false
}

// finish commits.
func (g *group) finish() {
	start := time.Now()
	err := g.commit()
	if err == nil && len(g.found) > 0 { // what is not durable yet must not be acknowledged
		if err := g.settled(); err != nil {
			g.out = engine.Outcome{Verdict: engine.Unknown, Culprit: -1, Err: err}
			return
		}
	}
	switch {
	case err == nil:
		g.out = engine.Outcome{Commit: time.Since(start), Members: g.members}
	case g.lite.AutoCommit() && !g.undone(err):
		g.out = engine.Outcome{Verdict: engine.Unknown, Culprit: -1, Err: err}
	default:
		g.undo(-1)
		if isBusy(err) {
			g.out.Verdict, g.out.Err = engine.Refused, err
		}
	}
}

// undo ends a transaction that cannot be committed. culprit is the call for which it is undone, or -1.
func (g *group) undo(culprit int) (on bool) {
	// Closing the connection rolls back, too.
	broken := !g.lite.AutoCommit() && g.rollback() != nil
	g.out = engine.Outcome{Verdict: engine.RolledBack, Culprit: culprit, Broken: broken}
	return false
}

// left ends a group that the program's code has left by a panic, in a hook, or by runtime.Goexit.
func (g *group) left(exited bool) {
	g.lose(-1)
	if !exited {
		return
	}
	if g.at < len(g.calls) {
		g.out.Culprit, g.out.Goexit = g.at, true
	}
	for _, c := range g.calls { // if the goroutine is a caller's, no goroutine reads the outcome
		c.PutOff()
	}
}
