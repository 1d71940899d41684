// Package command carries out commands: values for which a handler writes to the database, many in one transaction. It
// knows nothing of their types: see [Task]. What it needs of a database is a [Host].
package command

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/flight"
	"github.com/groupcommit/groupcommit/internal/group"
	"github.com/groupcommit/groupcommit/internal/record"
	"github.com/groupcommit/groupcommit/internal/turn"
)

// A Runner runs the batches of one handler's commands: it is the runner of their queue. A batch is what the queue's leader
// has claimed. It takes one transaction, or several if it fails:
//
//	batch → attempt ─ committed → each command is answered
//	           ├─ one is to blame: the batch without it, again; that one by itself, later
//	           ├─ COMMIT refused: each by itself, later
//	           └─ the handler failed: the same batch, later, as the policy says; at last all are rejected
//
// What is later is the [rest] of the batch. It happens in a goroutine of its own, without the writer's turn between the
// attempts, and after the queue has answered the others: no command waits for a neighbour's second chance.
type Runner struct {
	handler
	queue  *group.Queue[Task]
	turn   *turn.Turn // the leader's
	keeper *keeper    // nil unless the commands are durable
	retry  func(failed int) (wait time.Duration, again bool)

	closing context.Context // ends when the runner is being closed, and with it each pause
	hurry   context.CancelFunc
}

// New returns a runner. It takes commands at once; [Runner.Start] has it look for recorded ones.
func New(h Host, c Config) *Runner {
	k := &Kind{host: h, traits: h.Traits(), typ: c.Type, name: c.Kind, codec: c.Codec, flights: c.Flights, errors: c.Errors}
	k.table = record.Table{Dialect: record.Of(c.Dialect), Kind: c.Kind}
	k.table.Expected, _ = k.Encode(c.Zero) // if it cannot be, no result is what is expected
	r := &Runner{handler: handler{kind: k, call: c.Handle, maxTime: c.MaxTime}, turn: turn.New(), retry: c.Retry}
	r.closing, r.hurry = context.WithCancel(context.Background())
	r.queue = group.New(r, group.Limits[Task]{
		MaxLen: c.MaxLen, MaxBytes: 1, MaxQueue: c.MaxQueue, MaxDelay: c.MaxDelay, Closed: c.Errors.Closed, // tasks count no bytes
	})
	if c.Durable != nil {
		k.owner = rand.Text()
		r.keeper = newKeeper(k, r.queue, r.closing, r.join, c)
	}
	return r
}

// Start begins with what is recorded and pending, if commands are durable.
func (r *Runner) Start() { r.keeper.start() }

// Wake has the runner look for recorded commands now.
func (r *Runner) Wake() { r.keeper.soon() }

// Close answers all commands, and returns when that is done. What waits for another attempt has had its last.
func (r *Runner) Close() {
	r.hurry()
	r.keeper.stop()
	r.queue.Close()
	r.keeper.release()
}

// Kind is what the commands have in common.
func (r *Runner) Kind() *Kind { return r.kind }

// Go has a new command handled. It waits for room in the queue, and for the recording of a durable command, but not for the
// outcome. An error is the task's.
func (r *Runner) Go(ctx context.Context, t *Task) {
	if handledBy(ctx) != nil {
		ctx = context.WithoutCancel(ctx) // the handler's context ends with it, and the command may be for later
	}
	t.slot.Init(t, ctx, 0)
	if r.keeper == nil && t.id == "" {
		t.submit(r.queue, false)
		return
	}
	switch param, err := t.describe(); {
	case err != nil:
		t.fail(err)
	case r.keeper == nil:
		r.join(t)
	case !r.queue.Accept():
		t.fail(r.kind.errors.Closed)
	default:
		defer r.queue.Release()
		if err := r.keeper.record(ctx, t, param); err != nil {
			t.fail(err)
			return
		}
		t.detach()
		r.join(t)
	}
}

// join has a task with an id handled, or waits for the task that is in flight with that id.
func (r *Runner) join(t *Task) {
	f, mine, err := r.kind.flights.Begin(t.id, string(t.key))
	switch {
	case err != nil && t.inserted: // the id is this task's, as the one in flight with another value will find
		r.keeper.await(t)
	case err == flight.ErrTaken:
		t.fail(engine.Mismatch(t.id))
	case mine:
		r.fly(t, f, false)
	case !r.queue.Accept():
		t.fail(r.kind.errors.Closed)
	case err != nil:
		go func() {
			defer r.queue.Release()
			r.askOwner(t)
		}()
	default:
		go r.follow(t, f)
	}
}

// askOwner ends a task while a call with its id and another request is under way. The id may be t's all the same, by its record. Without one
// it is the other's, for as long as that is under way.
func (r *Runner) askOwner(t *Task) {
	var found map[string]record.Row
	var err error
	if r.kind.table.Dialect != nil {
		found, err = r.kind.acknowledged(r.kind.host.WithoutID(t.slot.Context()), []string{t.id})
	}
	switch row, there := found[t.id]; {
	case err != nil:
		t.fail(t.pending(err))
	case !there || row.Key != t.key:
		t.fail(engine.Mismatch(t.id))
	case r.keeper != nil && !row.State.Done():
		r.keeper.await(t)
	default:
		t.replay(row)
		t.Settle()
	}
}

// fly has a task handled whose flight is its own.
func (r *Runner) fly(t *Task, f *flight.Flight[engine.Answer], accepted bool) {
	t.flight = f
	if r.keeper != nil {
		r.keeper.launch(t, accepted)
	} else {
		t.submit(r.queue, accepted)
	}
}

// follow waits for the task that is in flight with t's id, and for the next one, for as long as they take, until there is an
// outcome for t or it is t's turn. The queue has accepted t.
func (r *Runner) follow(t *Task, f *flight.Flight[engine.Answer]) {
	defer r.queue.Release()
	ctx := t.slot.Context()
	mine, out, err := r.kind.flights.Follow(ctx, f, flight.Wait{})
	switch {
	case errors.Is(err, flight.ErrLeft):
		t.fail(engine.Left(t.id, ctx.Err()))
	case err == flight.ErrOther:
		r.askOwner(t)
	case err != nil:
		t.fail(engine.Mismatch(t.id))
	case mine != nil:
		r.fly(t, mine, true)
	default:
		t.share(out)
		t.Settle()
	}
}

// What follows is the queue's runner.

// Enter implements [group.Runner]. A recorded command waits for its turn for as long as it takes.
func (r *Runner) Enter(ctx context.Context, since time.Time) error {
	err := r.kind.host.Enter(ctx, r.turn, since)
	for err != nil && r.keeper != nil && r.closing.Err() == nil {
		err = r.kind.host.Enter(ctx, r.turn, time.Now())
	}
	return err
}

// Leave implements [group.Runner].
func (r *Runner) Leave() { r.kind.host.Leave(r.turn) }

// Patience implements [group.Runner]. A recorded command waits behind a batch for as long as it takes.
func (r *Runner) Patience() (time.Duration, error) {
	if r.keeper != nil {
		return 0, nil
	}
	return r.kind.host.Patience()
}

// Overtime implements [group.Runner]: batches come one after the other.
func (r *Runner) Overtime() time.Duration { return 0 }

// Room is for one group: the queue has one lane.
func (r *Runner) Room() int { return 1 }

// Run implements [group.Runner].
func (r *Runner) Run(batch []*Task) group.Report {
	reset(batch)
	commit, left := r.runGuarded(batch, 0, r.turn)
	return group.Report{Commit: commit, Reruns: left.reruns, Then: r.keep(left)}
}

// End implements [group.Runner].
func (r *Runner) End(t *Task) group.End {
	if t.kept {
		return group.Kept
	}
	return group.Answered
}

// RunPutOff implements [group.Runner]. No command is ever put off.
func (r *Runner) RunPutOff(*Task) {}
