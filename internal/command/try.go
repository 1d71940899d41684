package command

import (
	"fmt"

	"github.com/groupcommit/groupcommit/engine"
)

// stopError is what Try returns where the handler must stop.
type stopError struct{ error }

func (e stopError) Unwrap() error { return e.error }

// Try runs f, which resolves the task if it succeeds, for this task alone: if f fails, or panics, nothing of it is left. all
// says that f is all that is done for the task: then the task can be undone by itself, and be tried again by itself.
//
// An error that would come again rejects the task. Where Try returns an error the handler must stop: the transaction is to be
// rolled back. Try is for the handler, which has the task for as long as it runs.
func (t *Task) Try(all bool, f func() error) error {
	if t.attempt == nil || t.attempt.over.Load() {
		return fmt.Errorf("groupcommit: Try of command %q after its handler has returned", t.id)
	}
	return t.attempt.try(t, all, f)
}

func (a *attempt) try(t *Task, all bool, f func() error) error {
	switch {
	case a.trying:
		return fmt.Errorf("groupcommit: Try of command %q within another Try", t.id)
	case t.tried: // in vain
		return nil
	}
	a.trying = true
	stop := a.tryOnce(t, all, f)
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
func (a *attempt) tryOnce(t *Task, all bool, f func() error) error {
	savepoints := a.kind.traits.Savepoints
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
	case a.ctx.Err() != nil, a.kind.host.Transient(err):
		return err
	}
	_, final := a.kind.final(err)
	open, idle, lost := a.tx.State()
	undone := savepoints && open && !idle && lost == nil // or else the transaction is of no more use
	if undone {
		if err := a.tx.Own("ROLLBACK TO groupcommit; RELEASE groupcommit"); err != nil {
			return err
		}
	}
	switch {
	case undone && final:
		t.tried, t.rejection = true, err
		return nil
	case undone && all && len(a.batch) > 1:
		t.tried = true
		a.aside = append(a.aside, t)
		return nil
	case len(a.batch) > 1 || final:
		a.culprit, a.err = t, err
	}
	return err
}
