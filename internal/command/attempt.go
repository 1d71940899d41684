package command

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

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/record"
	"github.com/groupcommit/groupcommit/internal/turn"
)

// An attempt is one transaction of a handler:
//
//	BEGIN; claim the ids; the handler; record the outcomes; COMMIT
//
// Commands whose ids are settled are answered with what is recorded, and the handler does not get them.
type attempt struct {
	runner  *Runner
	batch   []*Task
	handled []*Task // those that the handler gets
	tx      Tx
	ctx     context.Context
	now     time.Time
	over    atomic.Bool // the handler has returned
	trying  bool        // Try is under way
	stop    error       // what Try has told the handler to stop for
	result
}

// A result is what an attempt has come to. Without an err each command has its outcome, but for those aside and the others.
type result struct {
	err     error
	aside   []*Task // undone, and to be tried by themselves
	others  []*Task // recorded, and not this process's to handle
	culprit *Task   // err is of this one alone
	began   bool    // the handler was reached
	split   bool    // err may be of any one of them: COMMIT found it
	severed bool    // the connection was gone when err came
	final   bool    // trying again would be wrong
	unknown bool    // COMMIT was sent, and its answer never came
	commit  time.Duration
}

// attempt handles a batch once. t is a turn that the caller has already, or nil.
func (r *Runner) attempt(batch []*Task, t *turn.Turn) result {
	a := &attempt{runner: r, batch: batch, now: time.Now()}
	a.ctx = r.handling(context.Background())
	if !r.traits.OneWriter { // there a context that can end costs each statement a goroutine
		ctx, cancel := context.WithTimeout(a.ctx, r.config.MaxTime)
		defer cancel()
		a.ctx = ctx
	}
	if a.err = a.begin(t); a.err != nil {
		return a.result
	}
	defer a.tx.Close()
	for _, step := range []func() error{a.claim, a.handle, a.record, a.finish} {
		if a.err = step(); a.err != nil {
			a.severed = a.ctx.Err() == nil && a.tx.Gone()
			break
		}
	}
	return a.result
}

// staleRetries is how often an attempt looks for a connection that is not stale: database/sql's own number.
const staleRetries = 2

func (a *attempt) begin(t *turn.Turn) (err error) {
	for range staleRetries + 1 {
		if a.tx, err = a.runner.host.Begin(a.ctx, t); !errors.Is(err, driver.ErrBadConn) {
			return err
		}
	}
	return err
}

// claim makes the commands' ids the transaction's own, and answers those that are settled.
func (a *attempt) claim() error {
	var rows []record.Row
	if a.runner.config.Promises {
		for _, t := range a.batch {
			if t.id != "" {
				rows = append(rows, record.Row{ID: t.id, Key: t.key})
			}
		}
	}
	switch {
	case len(rows) == 0:
		a.handled = a.batch
		return nil
	case a.runner.keeper != nil:
		return a.hold(rows)
	}
	found, err := a.runner.table.Claim(a.ctx, a.tx.SQL(), rows)
	if err != nil {
		return err
	}
	for _, t := range a.batch {
		t.doubt = nil // the claim is one that no other transaction can take back
		if r, ok := found[t.id]; ok {
			t.replay(r)
		} else {
			a.handled = append(a.handled, t)
		}
	}
	return nil
}

// hold is claim for commands that are recorded.
func (a *attempt) hold(rows []record.Row) error {
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	held, err := a.runner.table.Hold(a.ctx, a.tx.SQL(), ids, a.runner.keeper.owner, a.now)
	if err != nil {
		return err
	}
	for _, t := range a.batch {
		t.doubt = nil
		if held[t.id] {
			a.handled = append(a.handled, t)
		} else {
			a.others = append(a.others, t)
		}
	}
	return nil
}

// handle has the handler handle the commands.
func (a *attempt) handle() error {
	if len(a.handled) == 0 || a.handled[0].refused { // one that is refused is by itself
		return nil
	}
	a.began = true
	err := a.guarded()
	a.over.Store(true)
	if stop, ok := err.(stopError); ok {
		err = stop.error
	} else if err == nil {
		err = a.stop // the handler has not returned what Try has told it
	}
	c := &a.runner.config
	open, idle, lost := a.tx.State()
	switch {
	case a.culprit != nil: // whatever the handler says
		return a.err
	case lost != nil:
		return cmp.Or(err, lost)
	case a.ctx.Err() != nil:
		return fmt.Errorf("groupcommit: the handler of %q took longer than MaxTime, which is %v: %w", c.Kind, c.MaxTime, cmp.Or(err, a.ctx.Err()))
	case !open, errors.Is(err, c.Ended):
		a.final = true
		return c.Ended
	case idle && err == nil:
		return c.Undone
	}
	return err
}

// guarded runs the handler in a goroutine of its own, so that runtime.Goexit ends nothing but that.
func (a *attempt) guarded() error {
	for _, t := range a.handled {
		t.attempt = a
	}
	ended := make(chan error, 1)
	go func() {
		err := errors.New("groupcommit: the handler has called runtime.Goexit")
		defer func() {
			if v := recover(); v != nil {
				err = &engine.PanicError{Value: v, Stack: debug.Stack()}
			}
			ended <- err
		}()
		err = a.runner.config.Handle(a.ctx, a.tx.SQL(), a.handled)
	}()
	return <-ended
}

// record writes down what the commands with ids have come to.
func (a *attempt) record() error {
	r := a.runner
	if !r.config.Promises {
		return nil
	}
	var rows []record.Row
	for _, t := range a.handled {
		if t.id == "" || slices.Contains(a.aside, t) {
			continue
		}
		row := record.Row{ID: t.id, Key: t.key, State: durable.Resolved}
		if err := t.rejection; err != nil {
			row.State, row.Value = durable.Rejected, r.rejection(err)
		} else if row.Value, err = r.Encode(t.typed.Result()); err != nil {
			a.culprit = t
			return fmt.Errorf("groupcommit: command %q of kind %q: its result of type %T cannot be encoded: %w", t.id, r.config.Kind, t.typed.Result(), err)
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return nil
	}
	if r.keeper == nil {
		return r.table.Record(a.ctx, a.tx.SQL(), rows, a.now)
	}
	n, err := r.table.Settle(a.ctx, a.tx.SQL(), rows)
	if err == nil && n != int64(len(rows)) {
		err = record.Incomplete(len(rows), n)
	}
	return err
}

// finish commits, and answers the commands.
func (a *attempt) finish() (err error) {
	start := time.Now()
	if a.unknown, err = a.tx.Commit(); err != nil {
		if final := a.runner.traits.Final; !a.unknown && final != nil {
			_, a.split = final(err)
		}
		return err
	}
	a.commit = time.Since(start)
	for _, t := range a.handled {
		switch {
		case len(a.aside) > 0 && slices.Contains(a.aside, t):
		case t.rejection != nil:
			t.answer(nil, t.rejection)
		default:
			t.answer(t.typed.Result(), nil)
		}
	}
	return nil
}
