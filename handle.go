package groupcommit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/ledger"
)

// Commands is one type of command on one database, with its handler. Any number of goroutines may use it, until the
// database is closed: db.Close waits until the commands that were accepted are answered.
type Commands[C, R any] struct{ commander *commander }

// Handle has h handle the commands of type C on db, and returns what they are given to. db must be a database of ours.
//
//	type InsertUser struct{ ID int }
//
//	users, err := groupcommit.Handle(db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[InsertUser, int64]) error {
//		for _, c := range batch {
//			res, err := tx.ExecContext(ctx, "INSERT INTO users (value) VALUES (?)", c.Value.ID)
//			if err != nil {
//				return err
//			}
//			id, _ := res.LastInsertId()
//			c.Resolve(id)
//		}
//		return nil
//	}, groupcommit.MaxLen(1000), groupcommit.Retry(groupcommit.Never))
//	…
//	promise := users.Go(ctx, "insert-user-7", InsertUser{7})
//	…
//	id, err := promise.Await(ctx)
//
// The handler's transactions take turns with everything else that writes to the database; each batch has a commit of its own,
// so that no type of command pays for another. Batches of one type are handled one after the other.
//
// opts are [MaxLen], [MaxQueue], [MaxDelay], [MaxTime] and [Retry], which are the database's unless they are given, and those
// that only handlers have: [Durable], [Lease], [Timeout], [Kind], [WithCodec].
//
// It is an error if h is nil, if the database has a handler for C or for the kind already, if an option is not allowed, or if
// the database cannot be reached.
func Handle[C, R any](db *sql.DB, h Handler[C, R], opts ...Option) (*Commands[C, R], error) {
	if h == nil {
		return nil, fmt.Errorf("groupcommit: Handle: the handler of %v is nil; a function is needed", reflect.TypeFor[C]())
	}
	d, err := databaseOf(db)
	if err != nil {
		return nil, err
	}
	m, err := newCommander(d, reflect.TypeFor[C](), opts)
	if err != nil {
		return nil, err
	}
	var none R
	m.table.Expected, _ = m.encode(none) // if it cannot be, no result is what is expected
	m.handle = func(a *attempt, calls []*call) error {
		batch := make([]*Command[C, R], len(calls))
		for i, c := range calls {
			batch[i] = c.task.typed.(*Command[C, R])
			batch[i].at = a
		}
		return h(a.ctx, a.tx.SQL(), batch)
	}
	m.revive = func(r ledger.Row) (*Promise, error) {
		c := newCommand[C, R](m, r.ID)
		if err := m.decode(r.Param, &c.Value); err != nil {
			return nil, fmt.Errorf("groupcommit: command %q of kind %q: its recorded value cannot be decoded as %v; it stays pending: %w",
				r.ID, m.table.Kind, reflect.TypeFor[C](), err)
		}
		return &c.promise.promise, nil
	}
	if err := d.register(m); err != nil {
		return nil, err
	}
	return &Commands[C, R]{m}, nil
}

// Go hands a command to its handler without waiting for the outcome.
//
// id names the command, and may be empty. With an id, for which the database must have been opened with [Promises], the
// outcome is recorded in the handler's own transaction, and a command whose id is settled is not handled again: the promise
// gets the recorded outcome, as long as the database keeps it. What is recorded of an id belongs to one kind and one value:
// another is [ErrMismatch]. Nothing is recorded of a command whose handler failed: the id may be tried again.
//
// Go waits only if [MaxQueue] commands are waiting already; then for room, and no longer than ctx allows. ctx counts until the
// command is in a batch: if it ends before, the promise is rejected with its error and the command is certainly not executed.
//
// With [Durable] Go returns when the command is recorded, which takes a commit that it shares with others. ctx counts until
// then; afterwards only [Commands.Cancel] takes a command back. After an error it may be recorded or not, and is, once Go is
// called again with the same id and value and there is no error.
//
// The error of a command that cannot be made is the promise's.
func (cs *Commands[C, R]) Go(ctx context.Context, id string, value C) *PromiseOf[R] {
	c := newCommand[C, R](cs.commander, id)
	c.Value = value
	cs.commander.begin(ctx, &c.promise.promise)
	return &c.promise
}

// Do is Go and Await. Where ctx ends the command may go on, or not; [Commands.Go] tells the two apart.
func (cs *Commands[C, R]) Do(ctx context.Context, id string, value C) (R, error) {
	return cs.Go(ctx, id, value).Await(ctx)
}

// Add records a [Durable] command in a transaction of the caller's, of a handler or of db.BeginTx: it will be carried out if
// that transaction is committed, and only then. So an order and the e-mail about it are both there, or neither.
//
// Nobody is told of its outcome; [Commands.Go] with the same id and value, or [Lookup], asks for it. It begins when the
// transaction is committed, or a second later. To add an id again does nothing; with
// another value it is [ErrMismatch].
func (cs *Commands[C, R]) Add(ctx context.Context, tx *sql.Tx, id string, value C) error {
	c := newCommand[C, R](cs.commander, id)
	c.Value = value
	return cs.commander.add(ctx, tx, &c.promise.promise.call)
}

// Cancel takes a [Durable] command back: its promise is REJECTED_CANCELED, and it is not executed. Errors:
// [durable.ErrNotFound]; [durable.ErrForbidden], if it is settled. It waits for a handler that has begun with it. The promise of
// a command that waits for another attempt learns of it when its turn comes.
func (cs *Commands[C, R]) Cancel(ctx context.Context, id string) error {
	return cs.commander.cancel(ctx, id)
}

// Recover carries out the [Durable] commands of the kind that are recorded and not settled, in the order in which they were
// recorded (by the millisecond, then by id), in batches. Each is carried out once, by whichever process has a lease of it
// first: see [Lease]. Recover returns when all that were recorded before it was called are settled, here or elsewhere, or
// ctx ends.
//
// [Handle] begins this by itself and does not wait for it: a program needs Recover only to know when it is done.
//
// A command whose recorded value no longer decodes stays pending and keeps nobody waiting; the error, one for each, names its
// id and the types. What handlers return is no error of Recover's.
func (cs *Commands[C, R]) Recover(ctx context.Context) error {
	return cs.commander.recover(ctx)
}

// Stats returns the counters of the commands' batches, as [StatsOf] those of groups. Those of the pools are zero.
func (cs *Commands[C, R]) Stats() Stats { return cs.commander.batch.snapshot() }

// task is a command without its types: all that is known of it outside of this file and command.go. There may be very many
// of them: what each takes decides how often the collector walks the callers' stacks.
type task struct {
	commander *commander
	typed     typed
	at        *attempt // in which it was handed to its handler; nil before
	rejection error    // the outcome, so far
	tried     bool     // by Try, in vain
	refused   bool     // it is to be rejected with that, without being handled again
	recorded  bool     // as pending, whatever becomes of it here
	inserted  bool     // by this very promise
}

// typed is a Command.
type typed interface {
	// param is the value, encoded.
	param() ([]byte, error)
	// reset forgets what an earlier attempt has come to.
	reset()
	// value is the result.
	value() any
	// decoded is a result that was recorded.
	decoded(data []byte) (any, error)
}

func newCommand[C, R any](m *commander, id string) *Command[C, R] {
	c := &Command[C, R]{}
	p := &c.promise.promise
	p.call.promise, p.call.task = p, &c.task
	p.call.Identify(id, "")
	c.commander, c.typed = m, c
	return c
}

func (c *Command[C, R]) reset() {
	var none R
	c.result, c.tried = none, false
	if !c.refused {
		c.rejection = nil
	}
}

func (c *Command[C, R]) param() ([]byte, error) {
	data, err := c.commander.encode(c.Value)
	if err != nil {
		return nil, fmt.Errorf("groupcommit: command %q of kind %q: its value of type %T cannot be encoded: %w",
			c.ID(), c.commander.table.Kind, c.Value, err)
	}
	return data, nil
}

func (c *Command[C, R]) value() any { return c.result }

func (c *Command[C, R]) decoded(data []byte) (any, error) {
	var r R
	if err := c.commander.decode(data, &r); err != nil {
		return nil, fmt.Errorf("groupcommit: command %q of kind %q: its recorded result cannot be decoded as %v: %w",
			c.ID(), c.commander.table.Kind, reflect.TypeFor[R](), err)
	}
	return r, nil
}

// encode and decode are the codec's, whose panic is an error.
func (m *commander) encode(v any) (data []byte, err error) {
	err = engine.Guard(func() (err error) {
		data, err = m.limits.handling.codec.Encode(v)
		return err
	})
	return bytes.Clone(data), err // a codec may use its buffer again
}

func (m *commander) decode(data []byte, v any) error {
	return engine.Guard(func() error { return m.limits.handling.codec.Decode(data, v) })
}

// describe gives a command with an id what it is known by, and returns its value, encoded.
func (m *commander) describe(c *call) (param []byte, err error) {
	if err := m.db.keeps(c.ID()); err != nil {
		return nil, err
	}
	if param, err = c.task.typed.param(); err != nil {
		return nil, err
	}
	known := make([]byte, 0, 128)
	known = append(known, 1, 'c') // the version of this encoding, and that it is of a command
	known = binary.AppendUvarint(known, uint64(len(m.table.Kind)))
	known = append(append(known, m.table.Kind...), param...)
	sum := sha256.Sum256(known)
	c.Identify(c.ID(), durable.Key(sum[:]))
	return param, nil
}

// handlingKey is the database whose handler a context is for.
type handlingKey struct{}

func handledBy(ctx context.Context) *database {
	d, _ := ctx.Value(handlingKey{}).(*database)
	return d
}

var errWaitsForItself = errors.New("groupcommit: a handler must not wait for a command of its own database, which may be waiting for the handler; hand it over with Go, or record it with Add in the handler's transaction")

// waitsForItself is the error of a handler that waits for a command.
func waitsForItself(ctx context.Context, p *Promise) error {
	if d := handledBy(ctx); d == nil || d != p.call.task.commander.db || p.State().Done() {
		return nil
	}
	return errWaitsForItself
}
