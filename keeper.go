package groupcommit

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/ledger"
	"github.com/groupcommit/groupcommit/internal/repeat"
)

// A keeper looks after the durable commands of one handler: those that are recorded as pending, here or by another process,
// now or before a crash.
//
// Each has a lease, or is free. Who records a command has its first lease, and hands it to the batcher at once. In rounds,
// every second or sooner, the keeper renews the leases of what its process has in hand, takes what is free, and asks what
// became of the commands that somebody waits for here and that another process has.
//
// A lease is for peace, not for safety: it keeps two processes from doing the same at the same time. What keeps them from
// doing it twice is the handler's transaction. It locks the command's row, sees that it is still pending, and completes it.
type keeper struct {
	commander *commander
	owner     string // of the leases: this process
	store     durable.Store
	rounds    *repeat.Repeater
	tended    time.Time // when tend was last called; the rounds' own

	mu      sync.Mutex          // guards the rest
	held    map[string]bool     // commands that are with the batcher, or wait for another attempt
	awaited map[string]*Promise // commands that somebody waits for here, and somebody else has
	broken  map[string]error    // commands whose value does not decode, and why
	closed  bool
}

const (
	roundEvery = time.Second
	// askEvery is the time between two questions about a command that another process has.
	askEvery = 50 * time.Millisecond
)

func newKeeper(m *commander) *keeper {
	return &keeper{commander: m, owner: rand.Text(), store: m.db.dialect.NewStore(m.db.virtual),
		held: make(map[string]bool), awaited: make(map[string]*Promise), broken: make(map[string]error)}
}

func (k *keeper) start() {
	k.rounds = repeat.Start(min(roundEvery, k.lease()/4), k.round)
	k.rounds.Soon()
}

func (k *keeper) lease() time.Duration { return k.commander.limits.handling.lease }

// stop ends the rounds, and settles the promises of commands that somebody else has.
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
	for _, p := range awaited {
		p.reject(ErrClosed)
	}
}

// release lets other processes have at once what this one leaves.
func (k *keeper) release() {
	if k != nil {
		k.commander.table.Release(context.Background(), k.commander.db.virtual, k.owner) // if not, the leases end by themselves
	}
}

// hand gives a command that is leased to this process to the batcher. If there is no room, it is left to a later round: it is
// recorded, and who has recorded it need not wait.
func (k *keeper) hand(p *Promise) {
	if m := k.commander; !m.batch.hasRoom() {
		k.await(p)
		m.table.Shelve(m.closing, m.db.virtual, []string{p.call.ID()}, time.Now()) // if not, the lease ends by itself
		return
	}
	k.mu.Lock()
	k.held[p.call.ID()] = true
	k.mu.Unlock()
	k.commander.launch(p)
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

// await has a promise settled when it is known what became of its command, which somebody else has.
func (k *keeper) await(p *Promise) {
	if c := &p.call; c.state != callNew { // it was in a batch, and will be in another, if at all
		c.state = callNew
		defer k.commander.batch.active.Done()
	}
	k.mu.Lock()
	delete(k.held, p.call.ID())
	closed := k.closed
	if !closed {
		k.awaited[p.call.ID()] = p
	}
	k.mu.Unlock()
	if closed {
		p.reject(ErrClosed)
		return
	}
	k.rounds.Soon()
}

// round does what is to be done now and then. An error is nobody's: the next round does it.
func (k *keeper) round(ctx context.Context) (next time.Duration) {
	m := k.commander
	db, start := m.db.virtual, time.Now()
	due, err := m.table.Look(ctx, db, start) // to write nothing costs a turn on the writer
	if err != nil || !due.Pending && !k.awaits() {
		return 0
	}
	if due.Late {
		m.table.Expire(ctx, db, start)
	}
	if start.Sub(k.tended) >= k.lease()/4 {
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
	m := k.commander
	if ids := k.inHand(); len(ids) > 0 && m.table.Renew(ctx, m.db.virtual, ids, k.owner, now.Add(k.lease())) != nil {
		return
	}
	k.tended = now
	k.mu.Lock()
	broken := slices.Collect(maps.Keys(k.broken))
	k.mu.Unlock()
	if len(broken) == 0 {
		return
	}
	found, err := m.table.Read(ctx, m.db.virtual, broken)
	if err != nil {
		return
	}
	for _, id := range broken {
		if r, ok := found[id]; !ok || r.State.Done() {
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

// take leases what is free, as far as the batcher has use for it, and hands it in.
func (k *keeper) take(ctx context.Context, now time.Time) (more bool) {
	m := k.commander
	n := min(m.limits.maxLen, min(2*m.limits.maxLen, m.limits.maxQueue+1)-m.batch.load())
	if n <= 0 {
		return true
	}
	rows, err := m.table.Take(ctx, m.db.virtual, k.owner, now, now.Add(k.lease()), n)
	if err != nil {
		return false
	}
	var flying []string
	for _, r := range rows {
		if !k.adopt(r) {
			flying = append(flying, r.ID)
		}
	}
	if len(flying) > 0 {
		m.table.Shelve(ctx, m.db.virtual, flying, now)
	}
	return len(rows) == n
}

// adopt hands in a command that was recorded elsewhere. One whose value does not decode keeps its lease, so that it is not tried
// again before that has ended; meanwhile it is handed in if somebody here asks for it, and so has the value. It returns false
// if a call with the command's id is under way, which will find the command, or is of another kind.
func (k *keeper) adopt(r ledger.Row) bool {
	m := k.commander
	k.mu.Lock()
	p, ok := k.awaited[r.ID]
	delete(k.awaited, r.ID)
	delete(k.broken, r.ID)
	k.mu.Unlock()
	if ok {
		k.hand(p)
		return true
	}
	p, err := m.revive(r)
	if err != nil {
		k.mu.Lock()
		k.broken[r.ID] = err
		k.mu.Unlock()
		return true
	}
	c := &p.call
	c.SetContext(context.Background())
	c.Identify(r.ID, r.Key)
	c.task.recorded = true
	f, mine, err := m.db.flights.board(r.ID, r.Key)
	if err != nil || !mine {
		return false
	}
	f.brief = true
	p.flights, p.flight = &m.db.flights, f
	k.hand(p)
	return true
}

// ask settles the promises whose commands somebody else has settled, and hands in those that are ours after all.
func (k *keeper) ask(ctx context.Context) {
	m := k.commander
	k.mu.Lock()
	ids := make([]string, 0, len(k.awaited))
	for id := range k.awaited {
		ids = append(ids, id)
	}
	k.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	found, err := m.table.Read(ctx, m.db.virtual, ids)
	if err != nil {
		return
	}
	for _, id := range ids {
		r, ok := found[id]
		ours := r.Owner == k.owner // it was taken when nobody asked for it yet, or its row was locked for a moment
		if ok && !r.State.Done() && !ours {
			continue
		}
		k.mu.Lock()
		p := k.awaited[id]
		delete(k.awaited, id)
		k.mu.Unlock()
		switch {
		case p == nil:
		case ok && !r.State.Done():
			k.hand(p)
		case !ok:
			p.reject(fmt.Errorf("groupcommit: command %q is no longer in the database: it was settled longer ago than Retention, or deleted", id))
		default:
			m.replay(&p.call, r)
			p.settle()
		}
	}
}
