package sqlite3_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/require"
)

// Close drains what was accepted, also what was attached to another call whose context then ends.
func TestWhoIsAttachedWhenTheDatabaseIsClosedIsServed(t *testing.T) {
	type asker func(ctx context.Context, id string) (outcome func() error)
	for name, begin := range map[string]func(*testing.T, *sql.DB) asker{
		"calls": func(t *testing.T, db *sql.DB) asker {
			return func(ctx context.Context, id string) func() error {
				p := groupcommit.Go(groupcommit.WithID(ctx, id), db, insertRow, 1, "v")
				return func() error { _, err := p.Await(background); return err }
			}
		},
		"commands": func(t *testing.T, db *sql.DB) asker {
			cs, err := groupcommit.Handle(db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[int, int]) error {
				for _, c := range batch {
					if _, err := tx.ExecContext(ctx, insertRow, c.Value, "v"); err != nil {
						return err
					}
				}
				return nil
			})
			require.NoError(t, err)
			return func(ctx context.Context, id string) func() error {
				p := cs.Go(ctx, id, 1)
				return func() error { _, err := p.Await(background); return err }
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			db, dsn := promising(t, "")
			ask := begin(t, db)
			release := hold(t, db)
			ctx, cancel := context.WithCancel(background)
			first := ask(ctx, "x")
			var attached []func() error
			for range 3 {
				attached = append(attached, ask(background, "x"))
			}
			closed := make(chan error, 1)
			go func() { closed <- db.Close() }()
			for refused := false; !refused; {
				short, stop := context.WithTimeout(background, time.Millisecond)
				refused = errors.Is(ask(short, "another")(), groupcommit.ErrClosed)
				stop()
			}
			cancel()
			require.ErrorIs(t, first(), context.Canceled)
			release()
			for _, err := range attached {
				require.NoError(t, err())
			}
			require.NoError(t, bounded.Receive(t, "the database is closed", closed))
			require.Equal(t, 1, count(t, ours(t, dsn), "SELECT count(*) FROM a"))
		})
	}
}
