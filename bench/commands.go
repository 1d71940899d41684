package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/groupcommit/groupcommit"
)

// insertUser is the article's command.
type insertUser struct{ ID int64 }

// batchSpan is the line of a batch for --verbose.
type batchSpan struct{ n, from, to int }

// userCommands are the commands of a run. They have no result, except that the first command of each batch takes the batch's
// line home: the goroutine that awaits this command prints the line, after the commit.
type userCommands = groupcommit.Commands[insertUser, *batchSpan]

// handled has a handler insert the users that give hands to it. As in the article no batch is tried again: a run that fails
// ends at once.
func (w *work) handled(db *sql.DB, give func(users *userCommands) error) (err error) {
	if w.clash > 0 {
		return errors.New("a batch with a violation would fail as a whole")
	}
	if w.commands != nil {
		return give(w.commands)
	}
	opts := []groupcommit.HandlerOption{groupcommit.Retry(groupcommit.Never)}
	if w.maxLen > 0 {
		opts = append(opts, groupcommit.MaxLen(w.maxLen))
	}
	if w.commands, err = groupcommit.Handle(db, w.insertBatch, opts...); err != nil {
		return err
	}
	return give(w.commands)
}

// insertBatch is the article's batch handler. A batch fails as a whole, so the error says which value failed.
func (w *work) insertBatch(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[insertUser, *batchSpan]) error {
	stmt, err := tx.PrepareContext(ctx, w.insert)
	if err != nil {
		return err
	}
	defer stmt.Close()
	for _, c := range batch {
		if _, err := stmt.ExecContext(ctx, c.Value.ID); err != nil {
			return fmt.Errorf("value %d: %w", c.Value.ID, err)
		}
	}
	if w.saidAll != nil {
		s := &batchSpan{n: len(batch), from: int(batch[0].Value.ID), to: int(batch[0].Value.ID)}
		for _, c := range batch {
			s.from, s.to = min(s.from, int(c.Value.ID)), max(s.to, int(c.Value.ID))
		}
		batch[0].Resolve(s)
	}
	return nil
}

// told passes on the error of a command that has been awaited.
func (w *work) told(batch *batchSpan, err error) error {
	if err == nil && batch != nil {
		w.saidAll(batch.n, batch.from, batch.to)
	}
	return err
}

// commands is the article's program with a command type and a batch handler: concurrent goroutines, each with one command in
// flight.
func commands(ctx context.Context, db *sql.DB, w *work) error {
	return w.handled(db, func(users *userCommands) error {
		return w.concurrently(ctx, func(call int) error {
			return w.told(users.Do(context.Background(), "", insertUser{int64(call)}))
		})
	})
}

// promises is the program that uses promises: one goroutine with so many of them in flight, which awaits the oldest before
// it makes another.
func promises(inFlight int) api {
	return func(ctx context.Context, db *sql.DB, w *work) error {
		return w.handled(db, func(users *userCommands) error {
			window := make([]*groupcommit.PromiseOf[*batchSpan], inFlight)
			for at, awaited := 0, 0; awaited < inFlight; at++ {
				oldest := &window[at%inFlight]
				if *oldest != nil {
					if err := w.told((*oldest).Await(context.Background())); err != nil {
						return err
					}
					*oldest = nil
				}
				call := int(w.next.Load())
				if w.ended.Load() || call >= w.users { // only await those that are in flight
					awaited++
					continue
				}
				*oldest = users.Go(context.Background(), "", insertUser{int64(call)})
				w.next.Store(int64(call + 1))
			}
			return ctx.Err()
		})
	}
}
