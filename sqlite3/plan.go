//go:build cgo

package sqlite3

import (
	"database/sql/driver"
	"runtime"
	"slices"
	"time"

	"github.com/groupcommit/groupcommit/engine"
)

// A plan says what the session's segment is, of a group: the calls from the current one on that need nothing but their kept
// statements; before them, perhaps, what opens the transaction; behind them, perhaps, COMMIT.
//
//	[BEGIN IMMEDIATE, SELECT of the schema,] call, call, … [, COMMIT]
//
// Each step is what the driver would do. Where one fails, the driver's own call does it once more, which finds the error that is
// there and runs nothing; from there the group goes on as it does without segments.
type plan struct {
	opening int // steps
	first   int // call
	calls   int
	commits bool
}

func (g *group) mayPlan() bool { return g.crossing && !g.hasGuests() }

// hasIDs reports that the ledger is to be asked before the calls, and written behind them.
func (g *group) hasIDs() bool {
	return slices.ContainsFunc(g.calls, func(c *engine.Call) bool { return c.ID() != "" })
}

// made reports that the statements around a group's calls are there.
func (o *ownStatements) made() bool { return o.begin != nil && o.schema != nil && o.commit != nil }

// makePlan makes the next segment. False if the current call is none for it.
func (g *group) makePlan() bool {
	if !g.mayPlan() {
		return false
	}
	s := &g.segment
	s.clear()
	g.plan = plan{first: g.at}
	if !g.opened {
		s.add(handleOf(g.own.begin), nil)
		s.add(handleOf(g.own.schema), nil)
		g.plan.opening = len(s.steps)
	}
	var st *keptExec
	query := ""
	for i := g.at; i < len(g.calls) && !s.full(); i++ {
		c := g.calls[i]
		if c.WantsRows() || len(c.Args) == 0 || c.Bytes() > keptBytes || i >= g.guard || guarded.has(c.Query) {
			break
		}
		if _, ok := g.found[c.ID()]; ok {
			break
		}
		if st == nil || c.Query != query {
			st, _ = g.kept.Get(c.Query)
			query = c.Query
		}
		if st == nil || st.handle == 0 || st.NumInput() != len(c.Args) || !s.add(st.handle, c.Args) {
			break
		}
		g.plan.calls++
	}
	if g.plan.calls == 0 {
		return false
	}
	if g.whole && g.at+g.plan.calls == len(g.calls) {
		s.add(handleOf(g.own.commit), nil)
		g.plan.commits = true
	}
	return true
}

// cross runs the segment, and reports whether the transaction can go on.
func (g *group) cross() (on bool) {
	for {
		if !g.runSegment() {
			return false
		}
		done := int(g.segment.at) - g.plan.opening
		if done < 0 {
			return g.openRest()
		}
		if !g.opened {
			g.know()
		}
		g.answer(g.plan.first + min(done, g.plan.calls))
		if done >= g.plan.calls {
			break
		}
		if !g.fail() {
			return false
		}
		g.at++
		g.segment.at++
	}
	if g.plan.commits && int(g.segment.at) == len(g.segment.steps) { // or else finish meets the error
		g.committed, g.out = true, g.took()
	}
	return true
}

// runSegment runs the segment until a step fails. False if the program's code has panicked, in a hook.
func (g *group) runSegment() (on bool) {
	returned, culprit := false, -1
	engine.Catch(func() {
		g.segment.run()
		returned = true
	}, func(p *engine.PanicError) {
		switch at := int(g.segment.at) - g.plan.opening; {
		case at >= g.plan.calls:
			g.at = len(g.calls)
		case at >= 0:
			g.at, culprit = g.plan.first+at, g.plan.first+at
			g.calls[culprit].SetOutcome(engine.Answer{Err: p, Panicked: true})
		}
	})
	runtime.KeepAlive(g.session) // and with it the statements
	return returned || g.lose(culprit)
}

// openRest opens the transaction where the segment could not.
func (g *group) openRest() (on bool) {
	if g.segment.at == 0 {
		return g.open()
	}
	return g.prepareCalls()
}

// answer answers the calls up to one, which have been executed.
func (g *group) answer(end int) {
	steps := g.segment.steps[g.plan.opening:]
	for ; g.at < end; g.at++ {
		s := &steps[g.at-g.plan.first]
		g.calls[g.at].AnswerCounts(s.id, s.changes)
	}
}

// fail finds the error of the current call, and reports whether the transaction can go on. The driver resets the statement before it
// does anything else, and SQLite then returns the error of its last step.
func (g *group) fail() (on bool) {
	c := g.calls[g.at]
	g.untouched = false
	ok := c.Try(func(c *engine.Call) (driver.Result, error) {
		st, _ := g.kept.Get(c.Query)
		return st.ExecContext(background, c.Args)
	})
	switch {
	case !ok:
		return g.lose(g.at)
	case c.Err() == nil: // it was executed twice
		return g.undo(g.at)
	}
	return g.executed(c, false)
}

// took is the outcome of a group whose transaction the segment has ended.
func (g *group) took() engine.Outcome {
	steps := g.segment.steps
	commit := steps[len(steps)-1]
	out := engine.Outcome{Commit: time.Duration(commit.changes - commit.id)}
	if g.plan.opening > 0 {
		out.Members = time.Duration(commit.id - steps[g.plan.opening-1].changes)
	}
	return out
}
