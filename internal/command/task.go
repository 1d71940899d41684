package command

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/deadline"
	"github.com/groupcommit/groupcommit/internal/flight"
	"github.com/groupcommit/groupcommit/internal/group"
	"github.com/groupcommit/groupcommit/internal/record"
)

// A Task is a command without its types: its place in the queue, what its handler says of it, and the outcome that its
// callers wait for. There may be very many of them: what each takes decides how often the collector walks the callers'
// stacks.
//
// One goroutine at a time has a task, until it is settled: its caller in [Runner.Go], the leader of its batch, the goroutine
// that finishes what its batch has left, or the keeper. Its handler uses it meanwhile, for the leader. Callers may ask for the
// outcome at any time.
type Task struct {
	command
	said
	slot   group.Slot[Task]
	future group.Future
	flight *flight.Flight[engine.Answer] // nil unless it is this task that is executed for the id
	doubt  error                         // why it is not known whether an earlier attempt has left anything; nil if none has

	// The outcome, which does not change once the future is settled.
	value    any
	err      error
	replayed bool // it comes from the database, or from another task
	state    durable.State

	recorded bool // as pending, whatever becomes of it here
	inserted bool // recorded by this very task
	kept     bool // its batch is over, and it has no outcome yet: see rest
	left     bool // it was answered, and is pending still: see pending
}

// said is what its handler says of a command, in its present attempt.
type said struct {
	attempt   *attempt // nil before the first
	rejection error    // nil: the result of typed is the outcome
	tried     bool     // by Try, in vain
	refused   bool     // it is to be rejected with that, without being handled again
}

// Init prepares a new task. It is called once, before all else.
func (t *Task) Init(k *Kind, typed Typed, id string) { t.kind, t.typed, t.id = k, typed, id }

// Resolve has the result of the command be its outcome. It is for the handler.
func (t *Task) Resolve() { t.rejection = nil }

// Reject has err be the command's outcome. It is for the handler.
func (t *Task) Reject(err error) { t.rejection = err }

// Await returns the outcome. ctx bounds the waiting. It is an error to wait with the context of a handler that the task may be
// waiting for.
func (t *Task) Await(ctx context.Context) (any, error) {
	if handledBy(ctx) == t.kind.host && !t.future.Settled() {
		return nil, errWaitsForItself
	}
	if err := t.future.Wait(ctx); err != nil {
		return nil, err
	}
	return t.value, t.err
}

// Done is closed when the task is settled.
func (t *Task) Done() <-chan struct{} { return t.future.Done() }

// State is Pending until the task is settled.
func (t *Task) State() durable.State {
	if !t.future.Settled() {
		return durable.Pending
	}
	return t.state
}

// Replayed reports that the task is settled, by an outcome that comes from the database or from another task.
func (t *Task) Replayed() bool { return t.future.Settled() && t.replayed }

// detach has the task outlive its caller: then only Cancel takes the command back.
func (t *Task) detach() { t.slot.Init(t, context.Background(), 0) }

// submit queues the task. accepted says that the queue counts it already.
func (t *Task) submit(q *group.Queue[Task], accepted bool) {
	add := q.Go
	if accepted {
		add = q.GoAccepted
	}
	if err := add(&t.slot, t); err != nil {
		t.fail(err)
	}
}

// reset makes the task unanswered: what an attempt has said of it is void.
func (t *Task) reset() {
	t.answer(nil, engine.ErrUnanswered)
	t.kept, t.tried, t.left = false, false, false
	if !t.refused {
		t.rejection = nil
	}
	t.typed.Reset()
}

// refuse has the task be rejected with an error, by itself.
func (t *Task) refuse(err error) { t.refused, t.rejection = true, err }

// answer sets the outcome, in the place of an earlier one.
func (t *Task) answer(value any, err error) { t.value, t.err, t.replayed = value, err, false }

// conclude answers the task with an [engine.OutcomeUnknownError] if it has failed and is still in doubt.
func (t *Task) conclude() {
	if t.doubt != nil && t.err != nil {
		t.answer(nil, engine.InDoubt(t.id, t.doubt, t.slot.Context().Err()))
	}
}

// replay answers the task with what is recorded of it.
func (t *Task) replay(r record.Row) {
	switch {
	case r.Key != t.key:
		t.answer(nil, engine.Mismatch(t.id))
		return
	case r.State == durable.Resolved:
		t.answer(t.typed.Decoded(r.Value))
	default:
		var c engine.Call
		c.Identify(t.id, t.key)
		_, err := c.Replay(durable.Promise{CreateKey: r.Key, State: r.State, Value: durable.Value{Data: r.Value}})
		t.answer(nil, err)
	}
	t.replayed = true
}

// fail settles a task that the queue does not have.
func (t *Task) fail(err error) {
	if errors.Is(err, t.kind.errors.Closed) {
		err = t.pending(err)
	}
	t.answer(nil, err)
	t.Settle()
}

// pending is an error that does not end a recorded task, made into one that says so.
func (t *Task) pending(err error) error {
	if !t.recorded {
		return err
	}
	t.left = true
	return t.kind.errors.Pending(t.id, err)
}

// Settle makes the outcome known. It is called once: by the queue, or by whichever goroutine has the task.
func (t *Task) Settle() {
	if err := t.slot.Err(); err != nil {
		t.answer(nil, t.pending(err))
	}
	if settled := t.kind.settled; settled != nil {
		settled(t)
	}
	if f := t.flight; f != nil { // first, so that a caller that has seen the outcome does not find the task in flight
		t.flight = nil
		t.kind.flights.Complete(f, &engine.Answer{Value: t.value, Err: t.err}, t.keep())
	}
	t.state = t.verdict()
	t.count()
	t.future.Settle()
}

// share answers the task with another task's outcome.
func (t *Task) share(out engine.Answer) {
	t.answer(out.Value, out.Err)
	t.replayed = out.Err == nil
}

// keep says for which callers the outcome is. It is for none that come later: the database has it in a form that no other
// caller can change.
func (t *Task) keep() flight.Keep {
	if t.err != nil && (t.err == engine.ErrUnanswered || errors.Is(t.err, driver.ErrBadConn) || deadline.Over(t.slot.Context())) {
		return flight.Own
	}
	return flight.Shared
}

// verdict is the state that the outcome comes to. An error of a context is the caller's only if that one ended.
func (t *Task) verdict() durable.State {
	switch {
	case t.err == nil:
		return durable.Resolved
	case t.replayed:
		if rejected, ok := errors.AsType[*engine.RejectedError](t.err); ok {
			return rejected.State
		}
		return durable.Rejected
	case t.slot.Claimed(): // the error is the handler's, whatever it says
		return durable.Rejected
	case errors.Is(t.err, context.Canceled) && t.slot.Context().Err() != nil:
		return durable.RejectedCanceled
	case errors.Is(t.err, context.DeadlineExceeded) && t.slot.Context().Err() != nil:
		return durable.RejectedTimedout
	}
	return durable.Rejected
}
