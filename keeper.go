package groupcommit

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/ledger"
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
	rounds    *repeater
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
	k.rounds = repeat(min(roundEvery, k.lease()/4), k.round)
	k.rounds.soon()
}

func (k *keeper) lease() time.Duration { return k.commander.limits.handling.lease }

// stop ends the rounds, and settles the promises of commands that somebody else has.
func (k *keeper) stop() {
	if k == nil {
		return
	}
	k.rounds.stop()
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

// beginDurable records a new command, and hands it in.
func (m *commander) beginDurable(ctx context.Context, p *Promise) {
	c := &p.call
	param, err := m.describeDurable(c)
	switch {
	case err != nil:
		p.reject(err)
		return
	case !m.batch.accept():
		p.reject(ErrClosed)
		return
	}
	defer m.batch.active.Done()
	if err := m.keeper.record(ctx, c, param); err != nil {
		p.reject(err)
		return
	}
	c.ctx = context.Background() // only Cancel takes it back
	m.depart(p)
}

func (m *commander) describeDurable(c *Call) (param []byte, err error) {
	if c.id == "" {
		return nil, fmt.Errorf("groupcommit: a command of kind %q has no id; one that is Durable needs an id of 1 to 255 bytes", m.table.Kind)
	}
	return m.describe(c)
}

// record inserts the command, unless there is one of its id.
func (k *keeper) record(ctx context.Context, c *Call, param []byte) error {
	m := k.commander
	if handledBy(ctx) == m.db {
		return errWaitsForItself
	}
	now := time.Now()
	text, args := m.table.Pending(k.row(c, param, now), k.owner, now.Add(k.lease()))
	n, err := rowsOf(m.db.virtual.ExecContext(withoutID(ctx), text, args...))
	c.task.recorded, c.task.inserted = err == nil, n == 1
	return err
}

func rowsOf(res sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (k *keeper) row(c *Call, param []byte, now time.Time) ledger.Row {
	r := ledger.Row{ID: c.id, Key: c.print, Param: param, Created: now}
	if d := k.commander.limits.handling.timeout; d > 0 {
		r.Timeout = now.Add(d)
	}
	return r
}

// add records a command in a transaction of the caller's.
func (m *commander) add(ctx context.Context, tx *sql.Tx, c *Call) error {
	switch {
	case m.keeper == nil:
		return fmt.Errorf("groupcommit: Add: commands of kind %q are not Durable, which is an option of Handle", m.table.Kind)
	case tx == nil:
		return fmt.Errorf("groupcommit: Add: the *sql.Tx is nil")
	}
	param, err := m.describeDurable(c)
	if err != nil {
		return err
	}
	ctx = withoutID(ctx)
	text, args := m.table.Pending(m.keeper.row(c, param, time.Now()), "", time.Time{})
	n, err := rowsOf(tx.ExecContext(ctx, text, args...))
	if err != nil {
		return err
	}
	if n == 0 {
		found, err := m.table.Read(ctx, tx, []string{c.id})
		if err != nil {
			return err
		}
		switch r, ok := found[c.id]; {
		case !ok:
			return hidden(c.id)
		case r.Key != c.print:
			return mismatch(c.id)
		}
	}
	m.db.added.Store(true)
	return nil
}

// wakeKeepers is called after a COMMIT. Commands may have been added by that transaction, or by one that is still open: these
// are found in a later round.
func (d *database) wakeKeepers() {
	if !d.added.CompareAndSwap(true, false) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.commanders {
		if m.keeper != nil {
			m.keeper.rounds.soon()
		}
	}
}

// mostRecords is how often a command is recorded whose row is deleted each time before it can be read.
const mostRecords = 5

// launch hands in a command that is recorded, and that nobody else in this process has.
func (k *keeper) launch(p *Promise) {
	m, c := k.commander, &p.call
	for range mostRecords {
		if c.task.inserted {
			k.hand(p)
			return
		}
		found, err := m.table.Read(m.closing, m.db.virtual, []string{c.id})
		if err != nil {
			p.reject(&PendingError{ID: c.id, Cause: err})
			return
		}
		switch r, ok := found[c.id]; {
		case !ok: // it was settled, and has been deleted since
			param, err := c.task.typed.param()
			if err == nil {
				err = k.record(m.closing, c, param)
			}
			if err != nil {
				p.reject(err)
				return
			}
		case r.State.Done() || r.Key != c.print:
			m.replay(c, r)
			p.settle()
			return
		case r.Owner == k.owner:
			k.hand(p)
			return
		default:
			k.await(p)
			return
		}
	}
	p.reject(hidden(c.id))
}

func hidden(id string) error {
	return fmt.Errorf("groupcommit: id %q: groupcommit_promises neither takes a row with it nor shows one; a trigger or a policy may hide it", id)
}

// hand gives a command that is leased to this process to the batcher. If there is no room, it is left to a later round: it is
// recorded, and who has recorded it need not wait.
func (k *keeper) hand(p *Promise) {
	if m := k.commander; !m.batch.hasRoom() {
		k.await(p)
		m.table.Shelve(m.closing, m.db.virtual, []string{p.call.id}, time.Now()) // if not, the lease ends by itself
		return
	}
	k.mu.Lock()
	k.held[p.call.id] = true
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
	delete(k.held, p.call.id)
	closed := k.closed
	if !closed {
		k.awaited[p.call.id] = p
	}
	k.mu.Unlock()
	if closed {
		p.reject(ErrClosed)
		return
	}
	k.rounds.soon()
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
		return rest(time.Since(start))
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
	c.ctx, c.print, c.task.recorded = context.Background(), r.Key, true
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

// leavePending answers commands that somebody is to try again.
func (k *keeper) leavePending(batch []*Call, cause error) {
	ids := make([]string, len(batch))
	for i, c := range batch {
		ids[i] = c.id
		c.out = outcome{err: &PendingError{ID: c.id, Cause: cause}}
	}
	k.commander.table.Shelve(k.commander.closing, k.commander.db.virtual, ids, time.Now()) // if not, the lease ends by itself
}

// blameless reports an error that is none of the commands' that it came to: they are to be tried again, as long as it takes.
func (m *commander) blameless(err error) bool {
	return m.db.transient(err) || errors.Is(err, driver.ErrBadConn) || m.traits.Environment != nil && m.traits.Environment(err)
}

// reject records the end of commands whose handler has failed for good.
func (k *keeper) reject(batch []*Call, cause error) {
	m := k.commander
	rows := make([]ledger.Row, len(batch))
	ids := make([]string, len(batch))
	value := m.rejectionOf(cause)
	for i, c := range batch {
		ids[i] = c.id
		rows[i] = ledger.Row{ID: c.id, State: durable.Rejected, Value: value}
	}
	ctx := context.Background()
	n, err := m.table.Settle(ctx, m.db.virtual, rows)
	var found map[string]ledger.Row
	if err == nil && n < int64(len(batch)) { // somebody else was faster with some
		found, err = m.table.Read(ctx, m.db.virtual, ids)
	}
	if err != nil {
		k.leavePending(batch, errors.Join(cause, err))
		return
	}
	for _, c := range batch {
		if r, ok := found[c.id]; ok && (r.State != durable.Rejected || string(r.Value) != string(value)) {
			m.replay(c, r)
		} else {
			c.Answer(nil, cause)
		}
	}
}

func (m *commander) cancel(ctx context.Context, id string) error {
	switch {
	case m.keeper == nil:
		return fmt.Errorf("groupcommit: Cancel of %q: commands of kind %q are not Durable, which is an option of Handle", id, m.table.Kind)
	case handledBy(ctx) == m.db:
		return errWaitsForItself
	}
	if err := m.db.keeps(id); err != nil {
		return err
	}
	if !m.batch.accept() {
		return ErrClosed
	}
	defer m.batch.active.Done()
	ctx = withoutID(ctx)
	found, err := m.table.Read(ctx, m.db.virtual, []string{id})
	if err != nil {
		return err
	}
	if found[id].Kind != m.table.Kind { // it may be there, and be another's
		return fmt.Errorf("%w: %q, of kind %q", durable.ErrNotFound, id, m.table.Kind)
	}
	if _, err := m.keeper.store.Cancel(ctx, durable.CompleteRequest{ID: id}); err != nil {
		return err
	}
	m.keeper.mend(id)
	m.keeper.rounds.soon()
	return nil
}

func (m *commander) recover(ctx context.Context) error {
	if m.keeper == nil {
		return fmt.Errorf("groupcommit: Recover: commands of kind %q are not Durable, which is an option of Handle", m.table.Kind)
	}
	if handledBy(ctx) == m.db {
		return errWaitsForItself
	}
	k, before := m.keeper, time.Now()
	k.rounds.soon()
	for {
		left, broken, err := k.left(ctx, before)
		if m.closing.Err() != nil {
			return ErrClosed
		}
		if err != nil {
			return err
		}
		if !left {
			return errors.Join(broken...)
		}
		pause := time.NewTimer(askEvery / 2)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		case <-m.closing.Done():
			pause.Stop()
			return ErrClosed
		}
	}
}

// left reports whether there are commands that were recorded before a time and are to be carried out, and the errors of
// those that cannot be.
func (k *keeper) left(ctx context.Context, before time.Time) (left bool, broken []error, err error) {
	k.mu.Lock()
	known := make(map[string]error, len(k.broken))
	for id, err := range k.broken {
		known[id] = err
	}
	k.mu.Unlock()
	ids, err := k.commander.table.Waiting(ctx, k.commander.db.virtual, before, len(known)+1)
	for _, id := range ids {
		if e, ok := known[id]; ok {
			broken = append(broken, e)
		} else {
			left = true
		}
	}
	return left, broken, err
}
