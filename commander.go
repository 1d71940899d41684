package groupcommit

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/ledger"
	"github.com/groupcommit/groupcommit/internal/turn"
)

// A commander commits the batches of one handler: it is the environment of their batcher. A batch is what the batcher
// has claimed; it takes one transaction, or several if it fails:
//
//	batch → attempt ─ committed → each command is answered
//	           ├─ one is to blame: the batch without it, again; that one by itself, later
//	           ├─ COMMIT refused: each by itself, later
//	           └─ the handler failed: the same batch, later, as the policy says; at last all are rejected
//
// What is later happens in a goroutine of its own, without the writer's turn between the attempts, and after the batcher
// has answered the others: nobody waits for a neighbour's second chance.
type commander struct {
	db     *database
	traits *engine.Traits
	limits limits
	typ    reflect.Type // of the commands
	turn   *turn.Turn   // of whoever leads
	batch  *batcher
	table  ledger.Table
	keeper *keeper // nil unless the commands are durable

	handle func(*attempt, []*call) error
	revive func(ledger.Row) (*Promise, error) // the command of a row

	one     sync.Mutex // held by the attempt that is under way where there is no writer: a handler has one batch at a time
	closing context.Context
	hurry   context.CancelFunc // ends the pauses
}

func newCommander(d *database, typ reflect.Type, opts []Option) (*commander, error) {
	traits, err := d.ready(context.Background())
	if err != nil {
		return nil, err
	}
	d.Pool.MayKeep() // its connections are not the program's
	if traits.Hook != "" {
		return nil, fmt.Errorf("groupcommit: Handle of %v: %s reads the context of whoever uses a connection, and a batch is of many callers; open another database for the handler, without the hook", typ, traits.Hook)
	}
	l, h := d.limits, defaultHandling
	l.handling, l.onGroup = &h, nil
	if l, err = l.with(opts); err != nil {
		return nil, err
	}
	if err := h.complete(typ); err != nil {
		return nil, err
	}
	if h.durable && !l.promises {
		return nil, fmt.Errorf("groupcommit: Handle of %v: option Durable needs a database that keeps promises; open it with Promises() or %spromises=on", typ, prefix)
	}
	m := &commander{db: d, traits: traits, limits: l, typ: typ, turn: turn.New(),
		table: ledger.Table{Postgres: traits.Dialect == engine.PostgresSQL, Kind: h.kind}}
	m.closing, m.hurry = context.WithCancel(context.Background())
	m.batch = newBatcher(m, l)
	if h.durable {
		m.keeper = newKeeper(m)
	}
	return m, nil
}

// register makes m known to its database, which closes it. A durable one begins with what is pending.
func (d *database) register(m *commander) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	for _, other := range d.commanders {
		switch {
		case other.typ == m.typ:
			return fmt.Errorf("groupcommit: Handle: the database has a handler for commands of type %v; there can be one", m.typ)
		case other.table.Kind == m.table.Kind:
			return fmt.Errorf("groupcommit: Handle of %v: the database has a handler for commands of kind %q, of type %v; there can be one, and Kind gives another name", m.typ, m.table.Kind, other.typ)
		}
	}
	d.commanders = append(d.commanders, m)
	if m.keeper != nil {
		m.keeper.start()
	}
	return nil
}

// close answers all commands, and returns when that is done. What waits for another attempt has had its last.
func (m *commander) close() {
	m.hurry()
	m.keeper.stop()
	m.batch.close()
	m.keeper.release()
}

// begin hands a new command in.
func (m *commander) begin(ctx context.Context, p *Promise) {
	c := &p.call
	if handledBy(ctx) != nil {
		ctx = context.WithoutCancel(ctx) // the handler's context ends with it, and the command may be for later
	}
	c.SetContext(ctx)
	switch {
	case m.keeper != nil:
		m.beginDurable(ctx, p)
	case c.ID() == "":
		m.launch(p)
	default:
		if _, err := m.describe(c); err != nil {
			p.reject(err)
			return
		}
		m.depart(p)
	}
}

func (m *commander) launch(p *Promise) {
	p.batch = m.batch
	m.batch.submit(p)
}

// depart has a command with an id handled, or waits for the one that is under way.
func (m *commander) depart(p *Promise) {
	f, mine, err := m.db.flights.board(p.call.ID(), p.call.Fingerprint())
	switch {
	case err != nil && p.call.task.inserted: // the id is ours, as the one that is under way with another value will find
		m.keeper.await(p)
	case err != nil:
		p.reject(err)
	case mine:
		m.fly(p, f)
	case !m.batch.accept():
		p.reject(ErrClosed)
	default:
		go m.follow(p, f)
	}
}

// fly has a command handled whose flight is its own.
func (m *commander) fly(p *Promise, f *flight) {
	f.brief = true // the database has its result in a form that nobody else can change
	p.flights, p.flight = &m.db.flights, f
	if m.keeper != nil {
		m.keeper.launch(p)
	} else {
		m.launch(p)
	}
}

// follow is a promise's follow, for a command.
func (m *commander) follow(p *Promise, f *flight) {
	defer m.batch.active.Done()
	for mine := false; !mine; {
		out, ok := f.share(p.call.Context(), time.Time{}, 0, nil) // as long as the other one may take
		if ok {
			p.call.SetOutcome(out)
			p.settle()
			return
		}
		var err error
		if f, mine, err = m.db.flights.board(p.call.ID(), p.call.Fingerprint()); err != nil {
			p.reject(err)
			return
		}
	}
	p.call.accepted = true
	m.fly(p, f)
}

// The batcher's environment.

func (m *commander) enter(ctx context.Context, since time.Time) error {
	err := m.db.TakeTurn(ctx, m.turn, nil, since)
	for err != nil && m.keeper != nil { // what is recorded waits for as long as it takes
		if m.closing.Err() != nil {
			return &PendingError{Cause: err}
		}
		err = m.db.TakeTurn(ctx, m.turn, nil, time.Now())
	}
	return err
}

func (m *commander) patience() (time.Duration, error) {
	if m.keeper != nil {
		return 0, nil
	}
	return m.db.patience()
}

func (m *commander) leave()                  { m.db.Writer.Leave(m.turn) }
func (m *commander) overtime() time.Duration { return 0 }
func (m *commander) alone(c *call)           { m.run([]*call{c}, 0, m.turn) }
func (m *commander) apart(c *call)           { m.run([]*call{c}, 0, nil) }

func (m *commander) commit(calls []*call) engine.Outcome {
	return engine.Outcome{Commit: m.run(calls, 0, m.turn)}
}

// run handles a batch of which so many attempts have failed. Afterwards each call is answered, or says what is to become
// of it then. t is a turn that the caller has; it is over then. It returns what COMMIT took.
func (m *commander) run(batch []*call, failed int, t *turn.Turn) (commit time.Duration) {
	var aside []*call
	for redo := 0; len(batch) > 0; redo++ {
		if redo > maxRedo {
			aside = append(aside, batch...)
			break
		}
		if redo > 0 {
			forget(batch)
		}
		a := m.attemptAlone(batch, t)
		if t != nil {
			m.db.Writer.Leave(t) // if the attempt came to nothing
			t = nil
		}
		switch {
		case a.err == nil:
			aside = append(aside, a.aside...)
			commit, batch = a.commit, nil
		case a.culprit != nil && len(batch) > 1:
			aside = append(aside, a.culprit)
			batch = slices.DeleteFunc(slices.Clone(batch), func(c *call) bool { return c == a.culprit })
		case a.culprit != nil:
			a.culprit.task.refused, a.culprit.task.rejection = true, a.err
		case a.split && len(batch) > 1:
			aside = append(aside, batch...)
			batch = nil
		case a.split:
			batch[0].task.refused, batch[0].task.rejection = true, a.err
		case a.final:
			m.giveUp(batch, a)
			batch = nil
		default:
			m.again(m.lost(batch, a), failed+1, a)
			batch = nil
		}
	}
	m.later(aside, func(c []*call) {
		for i := range c {
			m.finish(c[i:i+1], failed)
		}
	})
	return commit
}

// attemptAlone is attempt when no other is under way. Where there is a writer its turns see to that.
func (m *commander) attemptAlone(batch []*call, t *turn.Turn) *attempt {
	if m.db.Writer == nil {
		m.one.Lock()
		defer m.one.Unlock()
	}
	return m.attempt(batch, t)
}

// forget makes a batch what it was before its last attempt.
func forget(batch []*call) {
	for _, c := range batch {
		c.Reset()
		c.then = nil
		c.task.typed.reset()
	}
}

// lost answers those calls of a batch whose COMMIT had no answer that nobody can ask about, and returns the others: their
// next attempt finds out what became of this one.
func (m *commander) lost(batch []*call, a *attempt) []*call {
	if !a.unknown {
		return batch
	}
	known := make([]*call, 0, len(batch))
	for _, c := range batch {
		if c.ID() == "" {
			c.Answer(nil, &engine.OutcomeUnknownError{Cause: a.err})
		} else {
			c.Doubt(a.err)
			known = append(known, c)
		}
	}
	return known
}

// again tries a batch again as the policy says, or gives it up. Meanwhile its commands take room in the queue: where very many
// fail, those who hand in commands wait.
func (m *commander) again(batch []*call, failed int, a *attempt) {
	if len(batch) == 0 {
		return
	}
	wait, more := m.next(failed)
	if !more || m.closing.Err() != nil {
		m.giveUp(batch, a)
		return
	}
	m.batch.stayAway(len(batch))
	m.later(batch, func(batch []*call) {
		pause := time.NewTimer(wait)
		select {
		case <-pause.C:
		case <-m.closing.Done():
			pause.Stop()
		}
		m.batch.stayAway(-len(batch))
		if m.closing.Err() != nil {
			m.giveUp(batch, a)
			m.done(batch)
			return
		}
		m.finish(batch, failed)
	})
}

// next is the policy, whose panic is its end.
func (m *commander) next(failed int) (wait time.Duration, again bool) {
	err := engine.Guard(func() error {
		wait, again = m.limits.retryPolicy()(failed)
		return nil
	})
	return wait, again && err == nil
}

// finish runs a batch and answers it, away from the batcher.
func (m *commander) finish(batch []*call, failed int) {
	forget(batch)
	m.run(batch, failed, nil)
	m.done(batch)
}

func (m *commander) done(batch []*call) {
	for _, c := range batch {
		m.batch.settle(c, nil)
	}
}

// later has f do something with calls in a goroutine of its own, once the batch that they were in is over. That is when
// the last of them would have been answered: then nobody else looks at them.
func (m *commander) later(calls []*call, f func([]*call)) {
	if len(calls) == 0 {
		return
	}
	calls = slices.Clone(calls)
	var left = len(calls)
	for _, c := range calls {
		c.then = func() {
			if left--; left == 0 {
				go f(calls)
			}
		}
	}
}

// giveUp rejects a batch with its last error. What is recorded as pending is rejected there, too, unless the error was none of
// the command's: then it stays pending, and somebody will try again.
func (m *commander) giveUp(batch []*call, a *attempt) {
	for _, c := range batch {
		c.then = nil
	}
	switch {
	case m.keeper == nil:
		for _, c := range batch {
			c.Answer(nil, a.err)
			c.Conclude()
		}
	case !a.final && (!a.began || a.unknown || m.closing.Err() != nil || a.severed || m.blameless(a.err)):
		m.keeper.leavePending(batch, a.err)
	default:
		m.keeper.reject(batch, a.err)
	}
}

// PendingError says that a [Durable] command is recorded, and could not be carried out by now: the program is being closed,
// or the database could not be written to. It will be carried out, by this program or another. Cause is why it was not.
type PendingError struct {
	ID    string
	Cause error
}

func (e *PendingError) Error() string {
	return fmt.Sprintf("groupcommit: command %q is recorded and still pending: %v", e.ID, e.Cause)
}

// Unwrap returns Cause.
func (e *PendingError) Unwrap() error { return e.Cause }

// rejectionOf is what is recorded of a command that was rejected.
func (m *commander) rejectionOf(err error) []byte {
	code := ""
	if m.traits.Final != nil {
		code, _ = m.traits.Final(err)
	}
	return engine.RejectedValue(code, err.Error())
}

// replay answers a command with what is recorded of it.
func (m *commander) replay(c *call, r ledger.Row) {
	out := engine.Answer{Result: engine.Result{Replayed: true}}
	switch {
	case r.Key != c.Fingerprint():
		out = engine.Answer{Err: mismatch(c.ID())}
	case r.State == durable.Resolved:
		out.Value, out.Err = c.task.typed.decoded(r.Value)
	default:
		_, out.Err = c.Replay(durable.Promise{CreateKey: r.Key, State: r.State, Value: durable.Value{Data: r.Value}})
	}
	c.SetOutcome(out)
}

func mismatch(id string) error { return fmt.Errorf("groupcommit: id %q: %w", id, ErrMismatch) }
