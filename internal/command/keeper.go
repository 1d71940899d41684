package command

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/groupcommit/groupcommit/internal/group"
	"github.com/groupcommit/groupcommit/internal/record"
	"github.com/groupcommit/groupcommit/internal/repeat"
)

// A keeper is the recovery loop of one handler's durable commands: it keeps those that are recorded as pending from being
// forgotten, whether this process or another has recorded them, and whether that was before a crash.
//
// Each has a lease, or is free. The process that records a command has its first lease, and hands it to the queue at once. In
// rounds, every second or sooner, the keeper renews the leases of what its process has in hand, takes what is free, and asks
// what became of the commands that callers wait for here and that another process has.
//
// A lease is for peace, not for safety: it keeps two processes from doing the same at the same time. What keeps them from
// doing it twice is the handler's transaction. It locks the command's row, sees that it is still pending, and completes it.
type keeper struct {
	Durable
	kind    *Kind
	queue   *group.Queue[Task]
	maxLen  int             // of the free commands that it takes at a time
	maxLoad int             // of the queue: it takes no more than fit in
	closing context.Context // ends when the runner is being closed
	join    func(*Task)     // has a task wait for the one in flight with its id
	rounds  *repeat.Repeater
	tended  time.Time // when tend was last called; the rounds' own

	held    byID[*Task] // commands that are with the queue, or wait for another attempt
	awaited byID[*Task] // commands that another process has, or may have
	broken  byID[error] // commands whose value does not decode, and why
}

const (
	roundEvery = time.Second
	// askEvery is the time between two questions about a command that another process has.
	askEvery = 50 * time.Millisecond
)

func newKeeper(k *Kind, q *group.Queue[Task], closing context.Context, join func(*Task), c Config) *keeper {
	keeper := &keeper{Durable: *c.Durable, kind: k, queue: q, closing: closing, join: join,
		maxLen: c.MaxLen, maxLoad: min(2*c.MaxLen, c.MaxQueue+1)}
	k.settled = func(t *Task) { keeper.held.takeIf(t.id, func(h *Task) bool { return h == t }) }
	return keeper
}

// start begins the rounds. A nil keeper has none.
func (k *keeper) start() {
	if k != nil {
		k.rounds = repeat.Start(min(roundEvery, k.Lease/4), k.round)
		k.rounds.Soon()
	}
}

// soon has a round begin now.
func (k *keeper) soon() {
	if k != nil {
		k.rounds.Soon()
	}
}

// stop ends the rounds, and settles the tasks whose commands another process has. The runner is closing.
func (k *keeper) stop() {
	if k == nil {
		return
	}
	k.rounds.Stop()
	for id := range k.awaited.all() {
		k.leave(id)
	}
}

// release lets other processes have at once what this one leaves.
func (k *keeper) release() {
	if k != nil {
		k.kind.table.Release(context.Background(), k.kind.db(), k.kind.owner) // if not, the leases end by themselves
	}
}

// hand gives the queue a command that is leased to this process. If there is no room, the command is left to a later round: it
// is recorded, and the caller that has recorded it need not wait.
func (k *keeper) hand(t *Task, accepted bool) {
	t.detach()
	if !k.queue.HasRoom() {
		k.await(t)
		k.shelve(k.closing, []string{t.id}, time.Now())
		return
	}
	k.held.put(t.id, t)
	t.submit(k.queue, accepted)
}

// shelve gives up the leases of commands: the first process that looks for some after a time gets them. If that fails, the
// leases end by themselves.
func (k *keeper) shelve(ctx context.Context, ids []string, until time.Time) {
	k.kind.table.Shelve(ctx, k.kind.db(), ids, until)
}

// await has a task settled when it is known what became of its command, which another process has. closing ends before stop
// looks for tasks: stop finds this one, or await sees that closing has ended.
func (k *keeper) await(t *Task) {
	k.kind.settled(t) // first: afterwards a round may hand it in again
	var before *Task
	follows := false
	k.awaited.update(t.id, func(b *Task) *Task {
		before = b
		switch {
		case b == nil || t.flight == nil:
			return t
		case t.key == b.key:
			follows = true
			return t
		}
		before = t // it was in flight when the other was recorded, so its own row is gone
		return b
	})
	switch {
	case before == nil:
	case follows:
		k.join(before)
	default:
		before.fail(deleted(before.id))
	}
	if k.closing.Err() != nil {
		k.leave(t.id)
		return
	}
	k.rounds.Soon()
}

// leave settles the task that waits for a command, if there is one, because the runner is closing.
func (k *keeper) leave(id string) {
	if t := k.awaited.take(id); t != nil {
		t.fail(k.kind.errors.Closed)
	}
}

// awaits reports that tasks wait for other processes.
func (k *keeper) awaits() bool { return len(k.awaited.all()) > 0 }

// round does what is to be done now and then. It reports no errors: what has failed is the next round's.
func (k *keeper) round(ctx context.Context) (next time.Duration) {
	table, db, start := &k.kind.table, k.kind.db(), time.Now()
	due, err := table.Look(ctx, db, start) // to write nothing costs a turn on the writer
	if err != nil || !due.Pending && !k.awaits() {
		return 0
	}
	if due.Late {
		table.Expire(ctx, db, start)
	}
	if start.Sub(k.tended) >= k.Lease/4 {
		k.tend(ctx, start)
	}
	more := due.Free && k.takeFree(ctx, start)
	k.ask(ctx)
	switch {
	case more:
		return repeat.Rest(time.Since(start))
	case k.awaits():
		return askEvery
	}
	return 0
}

// tend renews the leases of what is in hand, and forgets why commands could not be decoded that are no longer pending.
func (k *keeper) tend(ctx context.Context, now time.Time) {
	table, db := &k.kind.table, k.kind.db()
	if ids := slices.Collect(maps.Keys(k.held.all())); len(ids) > 0 && table.Renew(ctx, db, ids, k.kind.owner, now.Add(k.Lease)) != nil {
		return
	}
	k.tended = now
	broken := slices.Collect(maps.Keys(k.broken.all()))
	if len(broken) == 0 {
		return
	}
	found, err := table.Read(ctx, db, broken)
	if err != nil {
		return
	}
	for _, id := range broken {
		if row, ok := found[id]; !ok || row.State.Done() {
			k.broken.take(id)
		}
	}
}

// takeFree leases what is free, as far as the queue has use for it, and hands it in.
func (k *keeper) takeFree(ctx context.Context, now time.Time) (more bool) {
	n := min(k.maxLen, k.maxLoad-k.queue.Load())
	if n <= 0 {
		return true
	}
	rows, err := k.kind.table.Take(ctx, k.kind.db(), k.kind.owner, now, now.Add(k.Lease), n)
	if err != nil {
		return false
	}
	var inFlight []string
	for _, row := range rows {
		if !k.adopt(row) {
			inFlight = append(inFlight, row.ID)
		}
	}
	if len(inFlight) > 0 {
		k.shelve(ctx, inFlight, now)
	}
	return len(rows) == n
}

// adopt hands in a command that was recorded elsewhere. A command whose value does not decode keeps its lease, so that it is not
// tried again before that has ended. Meanwhile a caller that has the value, and asks for the command here, gets it handed in.
// adopt returns false if a call with the command's id is in flight: that one will find the command, or is of another kind.
func (k *keeper) adopt(row record.Row) bool {
	t := k.awaited.take(row.ID)
	k.broken.take(row.ID)
	switch {
	case t != nil && t.key == row.Key:
		k.hand(t, false)
		return true
	case t != nil: // its id has gone to another command
		t.fail(deleted(row.ID))
	}
	t, err := k.Revive(k.kind, row.ID, row.Param)
	if err != nil {
		k.broken.put(row.ID, err)
		return true
	}
	f, mine, err := k.kind.flights.Begin(row.ID, string(row.Key))
	if err != nil || !mine {
		return false
	}
	t.key, t.recorded, t.flight = row.Key, true, f
	k.hand(t, false)
	return true
}

// ask settles the tasks whose commands another process has settled, and hands in those that are this process's after all.
func (k *keeper) ask(ctx context.Context) {
	ids := slices.Collect(maps.Keys(k.awaited.all()))
	if len(ids) == 0 {
		return
	}
	found, err := k.kind.acknowledged(ctx, ids)
	if err != nil {
		return
	}
	for _, id := range ids {
		row, ok := found[id]
		ours := row.Owner == k.kind.owner // it was taken when no caller asked for it yet, or its row was locked for a moment
		if ok && !row.State.Done() && !ours {
			continue
		}
		switch t := k.awaited.take(id); {
		case t == nil:
		case ok && !row.State.Done() && row.Key != t.key:
			t.fail(deleted(id))
		case ok && !row.State.Done():
			k.hand(t, false)
		case !ok:
			t.fail(deleted(id))
		default:
			t.replay(row)
			t.Settle()
		}
	}
}

func deleted(id string) error {
	return fmt.Errorf("groupcommit: command %q is no longer in the database: it was settled longer ago than Retention, or deleted", id)
}
