package groupcommit

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/command"
)

// A Command is one value on its way through a [Handler], and the outcome that the handler gives it. Value and outcome are
// one struct, so they cannot be misaligned.
//
// Its methods are for the handler that was given it, from one goroutine at a time and before the handler returns.
type Command[C, R any] struct {
	Value C

	result  R
	promise PromiseOf[R]
}

// A Handler carries out a batch of commands in one transaction: at least one command, at most [MaxLen], in the order in
// which they were queued. It need not treat them one by one: it may write all of them with one statement.
//
// The handler gives each command an outcome, by [Command.Resolve] or [Command.Reject]. When it returns nil, a command that
// it has not touched is resolved with the zero value. A rejected command undoes neither its neighbours nor what was done for
// itself: see [Command.Try]. No command is answered before the transaction has been committed.
//
// If the handler returns an error, or panics, the transaction is rolled back, and the handler gets the same batch again as
// the policy of [Retry] says. When the policy gives up, all commands of the batch are rejected with that error. Meanwhile
// other batches go on. So a handler may see a command more than once, but never one that has been committed.
//
// The transaction is open for as long as the handler runs. On SQLite no other transaction writes meanwhile, so a handler
// that waits for a service outside of the database holds up all writers. Effects outside of the transaction are not undone
// with it, and happen again with the batch, for up to [MaxLen] commands.
//
// tx is the handler's for as long as it runs. The handler must close its rows by then, and must not commit or roll back: if
// it does, the transaction is rolled back and all commands are rejected. ctx ends after [MaxTime], except on SQLite. If a
// handler uses its own database otherwise than through tx, or calls db.Close, it may wait for itself. With ctx, a command
// that the handler would wait for is an error.
type Handler[C, R any] func(ctx context.Context, tx *sql.Tx, batch []*Command[C, R]) error

// Each makes a batch handler from a function that handles one command. If the function fails, that command is tried again by
// itself, or rejected, and its neighbours are not affected: see [Command.Try]. The function's context has the command's id:
// see [CommandID].
func Each[C, R any](f func(ctx context.Context, tx *sql.Tx, value C) (R, error)) Handler[C, R] {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, tx *sql.Tx, batch []*Command[C, R]) error {
		for _, c := range batch {
			ctx := ctx
			if c.ID() != "" {
				ctx = context.WithValue(ctx, commandKey{}, c.ID())
			}
			if err := c.try(true, func() (R, error) { return f(ctx, tx, c.Value) }); err != nil {
				return err
			}
		}
		return nil
	}
}

type commandKey struct{}

// CommandID returns the id of the command that [Each] has called its function for, for example as an idempotency key for
// another service; "" if the command has none.
func CommandID(ctx context.Context) string {
	id, _ := ctx.Value(commandKey{}).(string)
	return id
}

// ID is the command's id; "" if it has none.
func (c *Command[C, R]) ID() string { return c.promise.ID() }

// Resolve gives the command a result. It replaces an earlier outcome.
func (c *Command[C, R]) Resolve(result R) {
	c.result = result
	c.promise.task.Resolve()
}

// Reject gives the command an error. It replaces an earlier outcome. What was done for the command stays in the transaction.
// If err is nil, the command is rejected with an error that says so.
func (c *Command[C, R]) Reject(err error) {
	if err == nil {
		err = fmt.Errorf("groupcommit: command %q of kind %q was rejected with a nil error", c.ID(), c.promise.task.Kind().Name())
	}
	c.promise.task.Reject(err)
}

// Try runs f for this command alone. If f fails or panics, none of its work is left, and the command's neighbours go on. If
// f succeeds, the command is resolved with its result. Work for the command outside of f is not undone with it.
//
// Some errors would come again if f ran again (a violated constraint, a value that does not fit). Such an error rejects the
// command, and a further Try of it does nothing. After another error the command is tried again by itself, in a separate
// transaction, as the policy of [Retry] says. It is then rejected with that error, whose text and type are unchanged.
//
// If Try returns an error, the handler must stop and return it: the transaction is to be rolled back, and the handler will
// get the batch again, perhaps without this command. If the handler returns another value, Try's error counts all the same.
// A Try within f is an error, and so is one after the handler has returned.
//
// Cost: on SQLite a savepoint, which is cheap there, and an error leaves the transaction usable. On PostgreSQL nothing,
// unless f fails: then the batch is rolled back and runs again without the command, which runs by itself. A savepoint for
// each command would cost a round trip each, and more than 64 of them in a transaction slow down every snapshot on the
// server. After three such commands, all commands that are left of the batch run each by itself.
func (c *Command[C, R]) Try(f func() (R, error)) error { return c.try(false, f) }

// try is Try. all says that f does all the work for the command.
func (c *Command[C, R]) try(all bool, f func() (R, error)) error {
	return c.promise.task.Try(all, func() error {
		r, err := f()
		if err == nil {
			c.Resolve(r)
		}
		return err
	})
}

// PromiseOf is a command whose outcome will come. It settles once, awaited or not. Any number of goroutines may use it.
type PromiseOf[R any] struct{ task command.Task }

// Await waits for the outcome. ctx bounds only the waiting: if it ends first, Await returns its error and the promise goes
// on.
//
// If the handler has rejected the command, Await returns that same error, unless the outcome comes from the database: then
// it is a [*RejectedError]. A result from the database has been decoded anew. Callers that wait for one id together get the
// same result.
func (p *PromiseOf[R]) Await(ctx context.Context) (R, error) {
	value, err := p.task.Await(ctx)
	r, _ := value.(R) // an R that is a nil interface is none
	return r, err
}

// Done is closed when the promise is settled.
func (p *PromiseOf[R]) Done() <-chan struct{} { return p.task.Done() }

// ID is the command's id; "" if it has none.
func (p *PromiseOf[R]) ID() string { return p.task.ID() }

// State is PENDING until the promise is settled. It is then RESOLVED, or REJECTED if there is an error. It is
// REJECTED_CANCELED or REJECTED_TIMEDOUT if the command was taken back, or its time was over, before a handler had it; or,
// with an [OutcomeUnknownError], if the context of [Commands.Go] ended while another command with the id was under way.
func (p *PromiseOf[R]) State() durable.State { return p.task.State() }

// Deduplicated reports that the outcome comes from the database: the command had been settled before.
func (p *PromiseOf[R]) Deduplicated() bool { return p.task.Replayed() }
