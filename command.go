package groupcommit

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/command"
)

// A Command is one value on its way through a [Handler], and what the handler makes of it. Value and outcome are one
// struct, so there is nothing to misalign.
//
// Its methods are for the handler that was given it, from one goroutine at a time and before the handler returns.
type Command[C, R any] struct {
	Value C

	result  R
	promise PromiseOf[R]
}

// A Handler does what a batch of commands asks for, in one transaction: at least one command, at most [MaxLen], in the order
// in which they were queued. It need not be fast at one of them: it may write all of them with one statement.
//
// It says what each has come to, by [Command.Resolve] and [Command.Reject]. What it has not touched is resolved with the zero
// value when it returns nil. A command that was rejected does not undo its neighbours, nor what was done for it: see
// [Command.Try]. No caller is answered before the transaction has been committed.
//
// If the handler returns an error, or panics, the transaction is rolled back, and the handler gets the same batch again as the
// policy of [Retry] says; at the end all of the batch are rejected with that error. Meanwhile other batches go on. So a handler
// may see a command more than once, but never one that has been committed.
//
// The transaction is open for as long as the handler runs, and on SQLite no other caller writes meanwhile: a handler that waits
// for something outside of the database holds up all of them. Effects outside of the transaction are not undone with it, and
// happen again with the batch, for up to [MaxLen] commands.
//
// tx is the handler's for as long as it runs, and its rows must be closed by then. The handler must not commit it or roll it
// back: if it does, the transaction is rolled back, and all commands are rejected. ctx ends after [MaxTime], except on SQLite.
// A statement on the handler's own database that does not go through tx may wait for the handler itself, and so does db.Close.
// With ctx, it is an error to wait for a command of the same database.
type Handler[C, R any] func(ctx context.Context, tx *sql.Tx, batch []*Command[C, R]) error

// Each makes a handler of a function for one command. If it fails, that command is tried again by itself, or rejected; its
// neighbours are not concerned: see [Command.Try]. The function's context tells the command's id: see [CommandID].
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

// CommandID returns the id of the command that a function given to [Each] is called for, as an idempotency key for a service
// that it calls, say; "" if the command has none.
func CommandID(ctx context.Context) string {
	id, _ := ctx.Value(commandKey{}).(string)
	return id
}

// ID is the command's id; "" if it has none.
func (c *Command[C, R]) ID() string { return c.promise.ID() }

// Resolve gives the command a result, in the place of an earlier outcome.
func (c *Command[C, R]) Resolve(result R) {
	c.result = result
	c.promise.task.Resolve()
}

// Reject gives the command an error, in the place of an earlier outcome. What was done for the command stays in the
// transaction. A nil err is an error that says so.
func (c *Command[C, R]) Reject(err error) {
	if err == nil {
		err = fmt.Errorf("groupcommit: command %q of kind %q was rejected with a nil error", c.ID(), c.promise.task.Kind())
	}
	c.promise.task.Reject(err)
}

// Try runs f for this command alone: if f fails, or panics, nothing of it is left, and its neighbours go on. If f succeeds
// the command is resolved with its result. What is done for the command outside of f is not undone with it.
//
// An error that would come again if the same was tried again (a violated constraint, a value that does not fit) rejects the
// command; a further Try of it does nothing. After another error the command is tried again by itself, in a transaction of its
// own, as the policy of [Retry] says, and is then rejected with it: text and type are the error's own.
//
// Where Try returns an error the handler must stop and return it: the transaction is to be rolled back, and the handler will
// get the batch again, perhaps without this command. If it does not, what it returns is taken as that error. A Try within f is
// an error, and so is one after the handler has returned.
//
// What it costs: on SQLite a savepoint, because an error leaves the transaction usable there and a savepoint costs little. On
// PostgreSQL nothing, unless f fails: then the batch is rolled back and runs again without the command, which runs by
// itself. A savepoint for each command would cost a round trip each, and more than 64 of them in a transaction slow down
// every snapshot on the server. After three such commands all that are left of the batch run each by itself.
func (c *Command[C, R]) Try(f func() (R, error)) error { return c.try(false, f) }

// try is Try. all says that f is all that is done for the command.
func (c *Command[C, R]) try(all bool, f func() (R, error)) error {
	return c.promise.task.Try(all, func() error {
		r, err := f()
		if err == nil {
			c.Resolve(r)
		}
		return err
	})
}

// PromiseOf is a command whose outcome will come. It settles once, also if no goroutine awaits it. Any number of goroutines may
// use it.
type PromiseOf[R any] struct{ task command.Task }

// Await waits for the outcome. ctx bounds the waiting and nothing else: if it ends first, Await returns its error and the
// promise goes on.
//
// An error that the handler has rejected the command with is that error, unless the outcome comes from the database: then it
// is a [*RejectedError]. A result that comes from the database has been decoded anew. Callers that ask for the same id at the
// same time get the same result.
func (p *PromiseOf[R]) Await(ctx context.Context) (R, error) {
	value, err := p.task.Await(ctx)
	r, _ := value.(R) // an R that is a nil interface is none
	return r, err
}

// Done is closed when the promise is settled.
func (p *PromiseOf[R]) Done() <-chan struct{} { return p.task.Done() }

// ID is the command's id; "" if it has none.
func (p *PromiseOf[R]) ID() string { return p.task.ID() }

// State is PENDING until the promise is settled. It is then RESOLVED, or REJECTED if there is an error: REJECTED_CANCELED or
// REJECTED_TIMEDOUT if the command was taken back, or its time was over, before any handler had it; or if the context of
// [Commands.Go] ended while another command with the id was under way, which an [OutcomeUnknownError] says.
func (p *PromiseOf[R]) State() durable.State { return p.task.State() }

// Deduplicated reports that the outcome comes from the database: the command had been settled before.
func (p *PromiseOf[R]) Deduplicated() bool { return p.task.Replayed() }
