// Package command carries out commands: values for which a handler writes to the database, many in one transaction. It
// knows nothing of their types: see [Task]. What it needs of a database is a [Host].
package command

import (
	"context"
	"errors"
	"reflect"
	"runtime/debug"
	"sync"
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
	host   Host
	config Config
	traits *engine.Traits
	table  record.Table
	queue  *group.Queue[Task]
	turn   *turn.Turn // the leader's
	keeper *keeper    // nil unless the commands are durable

	one     sync.Mutex // held by the attempt that is under way where there is no writer: a handler has one batch at a time
	closing context.Context
	hurry   context.CancelFunc // ends the pauses
}

// New returns a runner. It takes commands at once; [Runner.Start] has it look for recorded ones.
func New(h Host, c Config) *Runner {
	r := &Runner{host: h, config: c, traits: h.Traits(), turn: turn.New()}
	r.table = record.Table{Dialect: record.Of(c.Dialect), Kind: c.Kind}
	r.table.Expected, _ = r.Encode(c.Zero) // if it cannot be, no result is what is expected
	r.closing, r.hurry = context.WithCancel(context.Background())
	r.queue = group.New(r, group.Limits[Task]{
		MaxLen: c.MaxLen, MaxBytes: 1, MaxQueue: c.MaxQueue, MaxDelay: c.MaxDelay, Closed: c.Closed, // tasks count no bytes
	})
	if c.Durable {
		r.keeper = newKeeper(r)
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

// Type is the commands' type.
func (r *Runner) Type() reflect.Type { return r.config.Type }

// Kind is the name of that type in the database.
func (r *Runner) Kind() string { return r.config.Kind }

// Stats returns the numbers of the queue. The groups are batches.
func (r *Runner) Stats() group.Stats { return r.queue.Stats() }

// Go has a new command handled. It waits for room in the queue, and for the recording of a durable command, but not for the
// outcome. An error is the task's.
func (r *Runner) Go(ctx context.Context, t *Task) {
	if handledBy(ctx) != nil {
		ctx = context.WithoutCancel(ctx) // the handler's context ends with it, and the command may be for later
	}
	t.slot.Init(t, ctx, 0)
	switch {
	case r.keeper != nil:
		r.keeper.begin(ctx, t)
	case t.id == "":
		r.submit(t, false)
	default:
		if _, err := r.describe(t); err != nil {
			t.fail(err)
			return
		}
		r.join(t)
	}
}

// submit queues a task. accepted says that the queue counts it already.
func (r *Runner) submit(t *Task, accepted bool) {
	add := r.queue.Go
	if accepted {
		add = r.queue.GoAccepted
	}
	if err := add(&t.slot, t); err != nil {
		t.fail(err)
	}
}

// join has a task with an id handled, or waits for the task that is in flight with that id.
func (r *Runner) join(t *Task) {
	f, mine, err := r.config.Flights.Begin(t.id, string(t.key))
	switch {
	case err != nil && t.inserted: // the id is this task's, as the one in flight with another value will find
		r.keeper.await(t)
	case err != nil:
		t.fail(engine.Mismatch(t.id))
	case mine:
		r.fly(t, f, false)
	case !r.queue.Accept():
		t.fail(r.config.Closed)
	default:
		go r.follow(t, f)
	}
}

// fly has a task handled whose flight is its own.
func (r *Runner) fly(t *Task, f *flight.Flight[engine.Answer], accepted bool) {
	t.flight = f
	if r.keeper != nil {
		r.keeper.launch(t, accepted)
	} else {
		r.submit(t, accepted)
	}
}

// follow waits for the task that is in flight with t's id, for as long as that one may take, and for the next, until there is an
// outcome for t or it is t's turn. The queue has accepted t.
func (r *Runner) follow(t *Task, f *flight.Flight[engine.Answer]) {
	defer r.queue.Release()
	ctx := t.slot.Context()
	mine, out, err := r.config.Flights.Follow(ctx, f, flight.Wait{})
	switch {
	case errors.Is(err, flight.ErrLeft):
		t.fail(engine.Left(t.id, ctx.Err()))
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
	err := r.host.Enter(ctx, r.turn, since)
	for err != nil && r.keeper != nil && r.closing.Err() == nil {
		err = r.host.Enter(ctx, r.turn, time.Now())
	}
	return err
}

// Leave implements [group.Runner].
func (r *Runner) Leave() { r.host.Leave(r.turn) }

// Patience implements [group.Runner]. A recorded command waits behind a batch for as long as it takes.
func (r *Runner) Patience() (time.Duration, error) {
	if r.keeper != nil {
		return 0, nil
	}
	return r.host.Patience()
}

// Overtime implements [group.Runner]: batches come one after the other.
func (r *Runner) Overtime() time.Duration { return 0 }

// Run implements [group.Runner]. If a driver panics, it is not known what became of the transaction.
func (r *Runner) Run(batch []*Task) (report group.Report) {
	for _, t := range batch {
		t.reset()
	}
	returned := len(batch) == 1 // the panic of a command alone is its own goroutine's
	defer func() {
		if !returned {
			err := &engine.PanicError{Value: recover(), Stack: debug.Stack()}
			for _, t := range batch {
				t.kept = false
				t.answer(nil, &engine.OutcomeUnknownError{Cause: err})
			}
			report = group.Report{}
		}
	}()
	commit, left := r.run(batch, 0, r.turn)
	returned = true
	return group.Report{Commit: commit, Then: r.keep(left)}
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
