package groupcommit

import (
	"context"
	"database/sql"
	"fmt"
	"reflect"

	"github.com/groupcommit/groupcommit/internal/command"
	"github.com/groupcommit/groupcommit/internal/virtual"
)

// Commands is one type of command on one database, with its handler. Any number of goroutines may use it, until the database
// is closed: db.Close waits until the commands that were accepted are answered.
type Commands[C, R any] struct{ runner *command.Runner }

// Handle makes h the handler of the commands of type C on db, which must be ours, and returns the Commands to hand them to.
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
// The handler's transactions take turns with all other writers of the database. Each batch has its own commit, so that no
// type of command pays for another. Batches of one type are handled one after the other.
//
// opts are [MaxLen], [MaxQueue], [MaxDelay], [MaxTime] and [Retry], which default to the database's, and the options that
// only handlers have: [Durable], [Lease], [Timeout], [Kind], [WithCodec].
//
// It is an error if h is nil, if the database already has a handler for C or for the kind, if an option is not allowed, or
// if the database cannot be reached.
func Handle[C, R any](db *sql.DB, h Handler[C, R], opts ...HandlerOption) (*Commands[C, R], error) {
	typ := reflect.TypeFor[C]()
	if h == nil {
		return nil, fmt.Errorf("groupcommit: Handle: the handler of %v is nil; a function is needed", typ)
	}
	d, err := databaseOf(context.Background(), db)
	if err != nil {
		return nil, err
	}
	d.Pool.Learn(db)
	config, err := d.handlerConfig(typ, opts)
	if err != nil {
		return nil, err
	}
	var none R
	config.Zero, config.Handle = none, handle(h)
	if config.Durable != nil {
		config.Durable.Revive = revive[C, R]
	}
	r := command.New(commandHost{d}, config)
	if err := d.register(r); err != nil {
		return nil, err
	}
	return &Commands[C, R]{r}, nil
}

// handlerConfig makes the configuration of a handler for commands of a type on this database, from the handler's options.
func (d *database) handlerConfig(typ reflect.Type, opts []HandlerOption) (c command.Config, err error) {
	traits, err := d.ready(context.Background())
	if err != nil {
		return c, err
	}
	if traits.Hook != "" {
		return c, fmt.Errorf("groupcommit: Handle of %v: %s reads the context of each caller that uses a connection, and a batch has many callers; open another database for the handler, without the hook", typ, traits.Hook)
	}
	h, err := handling{limits: d.limits, codec: jsonCodec{}}.with(opts)
	if err != nil {
		return c, err
	}
	if err := h.complete(typ); err != nil {
		return c, err
	}
	c = command.Config{
		Type: typ, Kind: h.kind, Codec: h.codec,
		Errors: command.Errors{
			Closed: ErrClosed, Ended: virtual.ErrEnded, Undone: virtual.ErrUndone,
			Pending: func(id string, cause error) error { return &PendingError{ID: id, Cause: cause} },
		},
		MaxTime: h.maxTime, Retry: h.retryPolicy(), MaxLen: h.maxLen, MaxQueue: h.maxQueue, MaxDelay: h.maxDelay,
		Dialect: d.dialect, Flights: d.inFlight,
	}
	if h.durable {
		c.Durable = &command.Durable{Store: d.dialect.NewStore(d.virtual), Lease: h.lease, Timeout: h.timeout}
	}
	return c, nil
}

// register makes r known to its database, which closes it. If the commands are durable, r begins with the pending ones.
func (d *database) register(r *command.Runner) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	k := r.Kind()
	for _, other := range d.runners {
		switch o := other.Kind(); {
		case o.Type() == k.Type():
			return fmt.Errorf("groupcommit: Handle: the database has a handler for commands of type %v; there can be one", k.Type())
		case o.Name() == k.Name():
			return fmt.Errorf("groupcommit: Handle of %v: the database has a handler for commands of kind %q, of type %v; there can be one, and Kind gives another name", k.Type(), k.Name(), o.Type())
		}
	}
	d.runners = append(d.runners, r)
	r.Start()
	return nil
}

// Go hands a command to its handler without waiting for the outcome.
//
// id names the command, and may be empty. An id needs a database that was opened with [Promises]. The outcome is then
// recorded in the handler's own transaction. A command whose id is settled is not handled again: the promise gets the
// recorded outcome, for as long as the database keeps it. An id belongs to one kind and one value; another is [ErrMismatch].
// If the handler failed, nothing is recorded of the command, and the id may be tried again.
//
// Go waits only if [MaxQueue] commands are waiting already. It then waits for room, and no longer than ctx allows. ctx
// counts until the command is in a batch: if it ends before that, the promise is rejected with its error and the command is
// certainly not executed.
//
// With [Durable], Go returns when the command is recorded, which takes a commit that it shares with others. ctx counts until
// then; afterwards only [Commands.Cancel] takes a command back. After an error the command may be recorded or not. It is
// recorded for certain once Go, called again with the same id and value, has no error.
//
// If the command cannot be made, the promise has the error.
func (cs *Commands[C, R]) Go(ctx context.Context, id string, value C) *PromiseOf[R] {
	c := newCommand[C, R](cs.runner.Kind(), id)
	c.Value = value
	cs.runner.Go(ctx, &c.promise.task)
	return &c.promise
}

// Do is Go and Await. If ctx ends, the command may go on or not; [Commands.Go] tells the two apart.
func (cs *Commands[C, R]) Do(ctx context.Context, id string, value C) (R, error) {
	return cs.Go(ctx, id, value).Await(ctx)
}

// Add records a [Durable] command in a transaction of the caller's, from a handler or from db.BeginTx. The command is
// carried out if and only if that transaction is committed. So an order and the e-mail about it are both there, or neither.
//
// No promise reports its outcome; [Commands.Go] with the same id and value asks for it, and so does [Lookup]. The command
// begins when the transaction is committed, or a second later. To add an id again does nothing; with another value it is
// [ErrMismatch].
func (cs *Commands[C, R]) Add(ctx context.Context, tx *sql.Tx, id string, value C) error {
	c := newCommand[C, R](cs.runner.Kind(), id)
	c.Value = value
	return cs.runner.Add(ctx, tx, &c.promise.task)
}

// Cancel takes a [Durable] command back: its promise is REJECTED_CANCELED, and it is not executed. Errors:
// [durable.ErrNotFound]; [durable.ErrForbidden], if the command is settled. Cancel waits for a handler that has begun with
// the command. If the command waits for another attempt, its promise learns of the cancellation at its turn.
func (cs *Commands[C, R]) Cancel(ctx context.Context, id string) error {
	return cs.runner.Cancel(ctx, id)
}

// Recover carries out the [Durable] commands of the kind that are recorded and not settled, in batches, in the order in
// which they were recorded (by the millisecond, then by id). Each is carried out once, by the process that first has a lease
// of it: see [Lease]. Recover returns when all commands that were recorded before the call are settled, here or elsewhere,
// or when ctx ends.
//
// [Handle] begins this by itself and does not wait for it. A program needs Recover only to know when it is done.
//
// A command whose recorded value no longer decodes stays pending and holds up no other. Recover returns an error for each,
// with its id and the types. Recover does not return the errors of handlers.
func (cs *Commands[C, R]) Recover(ctx context.Context) error {
	return cs.runner.Recover(ctx)
}

// Stats returns the counters of the commands' batches, as [StatsOf] does of groups. Ends and Commands are those of this kind. The
// counters of the pools are zero.
func (cs *Commands[C, R]) Stats() Stats {
	of := cs.runner.Stats()
	s := statsOf(&of.Batches)
	s.Ends = endsOf(of.Counts)
	s.Commands = map[string]CommandStats{cs.runner.Kind().Name(): commandStatsOf(&of)}
	return s
}

func newCommand[C, R any](k *command.Kind, id string) *Command[C, R] {
	c := &Command[C, R]{}
	c.promise.task.Init(k, (*typed[C, R])(c), id)
	return c
}

// handle makes a handler of tasks from a handler of commands.
func handle[C, R any](h Handler[C, R]) func(context.Context, *sql.Tx, []*command.Task) error {
	return func(ctx context.Context, tx *sql.Tx, tasks []*command.Task) error {
		batch := make([]*Command[C, R], len(tasks))
		for i, t := range tasks {
			batch[i] = (*Command[C, R])(t.Typed().(*typed[C, R]))
		}
		return h(ctx, tx, batch)
	}
}

func revive[C, R any](k *command.Kind, id string, value []byte) (*command.Task, error) {
	c := newCommand[C, R](k, id)
	if err := k.Decode(value, &c.Value); err != nil {
		return nil, fmt.Errorf("groupcommit: command %q of kind %q: its recorded value cannot be decoded as %v; it stays pending: %w",
			id, k.Name(), reflect.TypeFor[C](), err)
	}
	return &c.promise.task, nil
}

// typed is a [Command] as its task sees it. A program cannot call these methods.
type typed[C, R any] Command[C, R]

func (c *typed[C, R]) kind() *command.Kind { return c.promise.task.Kind() }

func (c *typed[C, R]) Param() ([]byte, error) {
	data, err := c.kind().Encode(c.Value)
	if err != nil {
		return nil, fmt.Errorf("groupcommit: command %q of kind %q: its value of type %T cannot be encoded: %w",
			c.promise.ID(), c.kind().Name(), c.Value, err)
	}
	return data, nil
}

func (c *typed[C, R]) Reset() {
	var none R
	c.result = none
}

func (c *typed[C, R]) Result() any { return c.result }

func (c *typed[C, R]) Decoded(data []byte) (any, error) {
	var r R
	if err := c.kind().Decode(data, &r); err != nil {
		return nil, fmt.Errorf("groupcommit: command %q of kind %q: its recorded result cannot be decoded as %v: %w",
			c.promise.ID(), c.kind().Name(), reflect.TypeFor[R](), err)
	}
	return r, nil
}
