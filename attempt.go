package groupcommit

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/ledger"
	"github.com/groupcommit/groupcommit/internal/turn"
	"github.com/groupcommit/groupcommit/internal/virtual"
)

// An attempt is one transaction of a handler:
//
//	BEGIN; claim the ids; the handler; record the outcomes; COMMIT
//
// Commands whose ids are settled are answered with what is recorded, and are not the handler's.
type attempt struct {
	commander *commander
	batch     []*call
	handled   []*call // those that the handler gets
	tx        *virtual.HandlerTx
	ctx       context.Context
	now       time.Time
	over      atomic.Bool // the handler has returned
	trying    bool        // Try is under way
	stop      error       // what Try has told the handler to stop for

	// What it has come to. Without an err each call has its answer, but for those aside.
	err     error
	aside   []*call // undone, and to be tried by themselves
	culprit *call   // err is of this one alone
	began   bool    // the handler was reached
	split   bool    // err may be of any one of them: COMMIT found it
	severed bool    // the connection was gone when err came
	final   bool    // trying again would be wrong
	unknown bool    // COMMIT was sent, and its answer never came
	commit  time.Duration
}

// attempt handles a batch once. t is a turn that the caller has already, or nil.
func (m *commander) attempt(batch []*call, t *turn.Turn) *attempt {
	a := &attempt{commander: m, batch: batch, now: time.Now()}
	a.ctx = context.WithValue(context.Background(), handlingKey{}, m.db)
	if !m.traits.OneWriter { // there a context that can end costs each statement a goroutine
		ctx, cancel := context.WithTimeout(a.ctx, m.limits.maxTime)
		defer cancel()
		a.ctx = ctx
	}
	if a.err = a.begin(t); a.err != nil {
		return a
	}
	defer a.tx.Close()
	for _, step := range []func() error{a.claim, a.run, a.record, a.finish} {
		if a.err = step(); a.err != nil {
			a.severed = a.ctx.Err() == nil && a.tx.Gone()
			return a
		}
	}
	return a
}

func (a *attempt) begin(t *turn.Turn) (err error) {
	for range staleRetries + 1 {
		if a.tx, err = virtual.BeginHandler(a.ctx, a.commander.db.virtual, t); !errors.Is(err, driver.ErrBadConn) {
			return err
		}
	}
	return err
}

// claim makes the commands' ids the transaction's own, and answers those that are settled.
func (a *attempt) claim() error {
	m := a.commander
	if !m.limits.promises {
		a.handled = a.batch
		return nil
	}
	var rows []ledger.Row
	var ids []string
	for _, c := range a.batch {
		if c.ID() != "" {
			rows = append(rows, ledger.Row{ID: c.ID(), Key: c.Fingerprint()})
			ids = append(ids, c.ID())
		}
	}
	if len(rows) == 0 {
		a.handled = a.batch
		return nil
	}
	if m.keeper != nil {
		held, err := m.table.Hold(a.ctx, a.tx.SQL(), ids, m.keeper.owner, a.now)
		if err != nil {
			return err
		}
		for _, c := range a.batch {
			if held[c.ID()] {
				a.handled = append(a.handled, c)
			} else {
				c.then = func() { m.keeper.await(c.promise) }
			}
			c.Claimed()
		}
		return nil
	}
	found, err := m.table.Claim(a.ctx, a.tx.SQL(), rows)
	if err != nil {
		return err
	}
	for _, c := range a.batch {
		c.Claimed()
		if r, ok := found[c.ID()]; ok {
			m.replay(c, r)
		} else {
			a.handled = append(a.handled, c)
		}
	}
	return nil
}

// run has the handler handle the commands.
func (a *attempt) run() error {
	if len(a.handled) == 0 {
		return nil
	}
	if a.handled[0].task.refused { // it is by itself
		return nil
	}
	a.began = true
	err := a.guarded()
	a.over.Store(true)
	if stop, ok := err.(stopError); ok {
		err = stop.error
	} else if err == nil {
		err = a.stop // it was not told
	}
	inTx, idle, lost := a.tx.State()
	switch {
	case a.culprit != nil: // whatever the handler says
		return a.err
	case lost != nil:
		return cmp.Or(err, lost)
	case a.ctx.Err() != nil:
		return fmt.Errorf("groupcommit: the handler of %q took longer than MaxTime, which is %v: %w",
			a.commander.table.Kind, a.commander.limits.maxTime, cmp.Or(err, a.ctx.Err()))
	case !inTx, errors.Is(err, virtual.ErrEnded):
		a.final = true
		return virtual.ErrEnded
	case idle && err == nil:
		return virtual.ErrUndone
	}
	return err
}

// guarded runs the handler in a goroutine of its own, so that runtime.Goexit ends nothing but that.
func (a *attempt) guarded() error {
	ended := make(chan error, 1)
	go func() {
		err := errors.New("groupcommit: the handler has called runtime.Goexit")
		defer func() {
			if v := recover(); v != nil {
				err = &PanicError{Value: v, Stack: debug.Stack()}
			}
			ended <- err
		}()
		err = a.commander.handle(a, a.handled)
	}()
	return <-ended
}

// record writes down what the commands with ids have come to.
func (a *attempt) record() error {
	m := a.commander
	if !m.limits.promises {
		return nil
	}
	var rows []ledger.Row
	for _, c := range a.handled {
		if c.ID() == "" || slices.Contains(a.aside, c) {
			continue
		}
		r := ledger.Row{ID: c.ID(), Key: c.Fingerprint(), State: durable.Resolved}
		if err := c.task.rejection; err != nil {
			r.State, r.Value = durable.Rejected, m.rejectionOf(err)
		} else if r.Value, err = m.encode(c.task.typed.value()); err != nil {
			a.culprit = c
			return fmt.Errorf("groupcommit: command %q of kind %q: its result of type %T cannot be encoded: %w", c.ID(), m.table.Kind, c.task.typed.value(), err)
		}
		rows = append(rows, r)
	}
	if len(rows) == 0 {
		return nil
	}
	if m.keeper == nil {
		return m.table.Record(a.ctx, a.tx.SQL(), rows, a.now)
	}
	n, err := m.table.Settle(a.ctx, a.tx.SQL(), rows)
	if err == nil && n != int64(len(rows)) {
		err = fmt.Errorf("groupcommit: the outcomes of %d commands could not be recorded: groupcommit_promises has taken %d", len(rows), n)
	}
	return err
}

// finish commits, and answers the commands.
func (a *attempt) finish() error {
	start := time.Now()
	unclear, err := a.tx.Commit()
	if err != nil {
		a.unknown = unclear
		if m := a.commander; !a.unknown && m.traits.Final != nil {
			_, a.split = m.traits.Final(err)
		}
		return err
	}
	a.commit = time.Since(start)
	for _, c := range a.handled {
		if len(a.aside) == 0 || !slices.Contains(a.aside, c) {
			c.SetOutcome(engine.Answer{Value: c.task.typed.value(), Err: c.task.rejection})
		}
	}
	return nil
}

// stopError is what Try returns where the handler must stop.
type stopError struct{ error }

func (e stopError) Unwrap() error { return e.error }

// try is Command.Try, where nothing else is done for the command outside of f if all is true.
func (a *attempt) try(c *call, all bool, f func() error) error {
	switch {
	case a.trying:
		return fmt.Errorf("groupcommit: Try of command %q within another Try", c.ID())
	case c.task.tried: // in vain
		return nil
	}
	a.trying = true
	stop := a.tryOnce(c, all, f)
	a.trying = false
	if stop == nil {
		return nil
	}
	if a.stop == nil {
		a.stop = stop
	}
	return stopError{stop}
}

// tryOnce returns why the handler must stop, or nil.
func (a *attempt) tryOnce(c *call, all bool, f func() error) error {
	m := a.commander
	savepoints := m.traits.Savepoints
	if savepoints {
		if err := a.tx.Own("SAVEPOINT groupcommit"); err != nil {
			return err
		}
	}
	err := engine.Guard(f)
	switch {
	case err == nil && savepoints:
		return a.tx.Own("RELEASE groupcommit")
	case err == nil:
		return nil
	case a.ctx.Err() != nil, m.db.transient(err):
		return err
	}
	final := false
	if m.traits.Final != nil {
		_, final = m.traits.Final(err)
	}
	inTx, idle, lost := a.tx.State()
	undone := savepoints && inTx && !idle && lost == nil // or else the transaction is of no more use
	if undone {
		if err := a.tx.Own("ROLLBACK TO groupcommit; RELEASE groupcommit"); err != nil {
			return err
		}
	}
	switch {
	case undone && final:
		c.task.tried, c.task.rejection = true, err
		return nil
	case undone && all && len(a.batch) > 1:
		c.task.tried = true
		a.aside = append(a.aside, c)
		return nil
	case len(a.batch) > 1 || final:
		a.culprit, a.err = c, err
	}
	return err
}
