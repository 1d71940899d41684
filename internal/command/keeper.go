package command

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

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
	runner *Runner
	owner  string // of the leases: this process
	rounds *repeat.Repeater
	tended time.Time // when tend was last called; the rounds' own

	mu      sync.Mutex       // guards the rest
	held    map[string]bool  // commands that are with the queue, or wait for another attempt
	awaited map[string]*Task // commands that another process has, or may have
	broken  map[string]error // commands whose value does not decode, and why
	closed  bool
}

const (
	roundEvery = time.Second
	// askEvery is the time between two questions about a command that another process has.
	askEvery = 50 * time.Millisecond
)

func newKeeper(r *Runner) *keeper {
	return &keeper{runner: r, owner: rand.Text(),
		held: make(map[string]bool), awaited: make(map[string]*Task), broken: make(map[string]error)}
}

// start begins the rounds. A nil keeper has none.
func (k *keeper) start() {
	if k != nil {
		k.rounds = repeat.Start(min(roundEvery, k.runner.config.Lease/4), k.round)
		k.rounds.Soon()
	}
}

// soon has a round begin now.
func (k *keeper) soon() {
	if k != nil {
		k.rounds.Soon()
	}
}

// stop ends the rounds, and settles the tasks whose commands another process has.
func (k *keeper) stop() {
	if k == nil {
		return
	}
	k.rounds.Stop()
	k.mu.Lock()
	k.closed = true
	awaited := k.awaited
	k.awaited = nil
	k.mu.Unlock()
	for _, t := range awaited {
		t.fail(k.runner.config.Closed)
	}
}

// release lets other processes have at once what this one leaves.
func (k *keeper) release() {
	if k != nil {
		k.runner.table.Release(context.Background(), k.runner.host.DB(), k.owner) // if not, the leases end by themselves
	}
}

// hand gives a command that is leased to this process to the queue. If there is no room, it is left to a later round: it is
// recorded, and the caller that has recorded it need not wait.
func (k *keeper) hand(t *Task, accepted bool) {
	r := k.runner
	if !r.queue.HasRoom() {
		k.await(t)
		k.shelve(r.closing, []string{t.id}, time.Now())
		return
	}
	k.mu.Lock()
	k.held[t.id] = true
	k.mu.Unlock()
	t.slot.Init(t, context.Background(), 0) // only Cancel takes it back
	r.submit(t, accepted)
}

// shelve gives up the leases of commands, and leaves them to the process that comes first after a time. If that fails, the leases
// end by themselves.
func (k *keeper) shelve(ctx context.Context, ids []string, until time.Time) {
	k.runner.table.Shelve(ctx, k.runner.host.DB(), ids, until)
}

// drop is called when a command is no longer in hand. A nil keeper has none.
func (k *keeper) drop(id string) {
	if k == nil {
		return
	}
	k.mu.Lock()
	delete(k.held, id)
	k.mu.Unlock()
}

// await has a task settled when it is known what became of its command, which another process has.
func (k *keeper) await(t *Task) {
	k.mu.Lock()
	delete(k.held, t.id)
	closed := k.closed
	if !closed {
		k.awaited[t.id] = t
	}
	k.mu.Unlock()
	if closed {
		t.fail(k.runner.config.Closed)
		return
	}
	k.rounds.Soon()
}

// round does what is to be done now and then. An error is not reported: the next round does it.
func (k *keeper) round(ctx context.Context) (next time.Duration) {
	table, db, start := &k.runner.table, k.runner.host.DB(), time.Now()
	due, err := table.Look(ctx, db, start) // to write nothing costs a turn on the writer
	if err != nil || !due.Pending && !k.awaits() {
		return 0
	}
	if due.Late {
		table.Expire(ctx, db, start)
	}
	if start.Sub(k.tended) >= k.runner.config.Lease/4 {
		k.tend(ctx, start)
	}
	more := due.Free && k.take(ctx, start)
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
	r := k.runner
	if ids := k.inHand(); len(ids) > 0 && r.table.Renew(ctx, r.host.DB(), ids, k.owner, now.Add(r.config.Lease)) != nil {
		return
	}
	k.tended = now
	k.mu.Lock()
	broken := slices.Collect(maps.Keys(k.broken))
	k.mu.Unlock()
	if len(broken) == 0 {
		return
	}
	found, err := r.table.Read(ctx, r.host.DB(), broken)
	if err != nil {
		return
	}
	for _, id := range broken {
		if row, ok := found[id]; !ok || row.State.Done() {
			k.mend(id)
		}
	}
}

// mend forgets why a command could not be decoded.
func (k *keeper) mend(id string) {
	k.mu.Lock()
	delete(k.broken, id)
	k.mu.Unlock()
}

func (k *keeper) inHand() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Collect(maps.Keys(k.held))
}

func (k *keeper) awaits() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.awaited) > 0
}

// take leases what is free, as far as the queue has use for it, and hands it in.
func (k *keeper) take(ctx context.Context, now time.Time) (more bool) {
	r := k.runner
	n := min(r.config.MaxLen, min(2*r.config.MaxLen, r.config.MaxQueue+1)-r.queue.Load())
	if n <= 0 {
		return true
	}
	rows, err := r.table.Take(ctx, r.host.DB(), k.owner, now, now.Add(r.config.Lease), n)
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

// adopt hands in a command that was recorded elsewhere. One whose value does not decode keeps its lease, so that it is not tried
// again before that has ended; meanwhile it is handed in if a caller here asks for it, and so has the value. It returns false
// if a call with the command's id is in flight, which will find the command, or is of another kind.
func (k *keeper) adopt(row record.Row) bool {
	r := k.runner
	k.mu.Lock()
	t, ok := k.awaited[row.ID]
	delete(k.awaited, row.ID)
	delete(k.broken, row.ID)
	k.mu.Unlock()
	if ok {
		k.hand(t, false)
		return true
	}
	t, err := r.config.Revive(r, row.ID, row.Param)
	if err != nil {
		k.mu.Lock()
		k.broken[row.ID] = err
		k.mu.Unlock()
		return true
	}
	f, mine, err := r.config.Flights.Begin(row.ID, string(row.Key))
	if err != nil || !mine {
		return false
	}
	t.slot.Init(t, context.Background(), 0)
	t.key, t.recorded, t.flight = row.Key, true, f
	k.hand(t, false)
	return true
}

// ask settles the tasks whose commands another process has settled, and hands in those that are this process's after all.
func (k *keeper) ask(ctx context.Context) {
	k.mu.Lock()
	ids := slices.Collect(maps.Keys(k.awaited))
	k.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	found, err := k.runner.table.Read(ctx, k.runner.host.DB(), ids)
	if err != nil {
		return
	}
	for _, id := range ids {
		row, ok := found[id]
		ours := row.Owner == k.owner // it was taken when no caller asked for it yet, or its row was locked for a moment
		if ok && !row.State.Done() && !ours {
			continue
		}
		k.mu.Lock()
		t := k.awaited[id]
		delete(k.awaited, id)
		k.mu.Unlock()
		switch {
		case t == nil:
		case ok && !row.State.Done():
			k.hand(t, false)
		case !ok:
			t.fail(fmt.Errorf("groupcommit: command %q is no longer in the database: it was settled longer ago than Retention, or deleted", id))
		default:
			t.replay(row)
			t.Settle()
		}
	}
}
