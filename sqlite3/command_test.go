package sqlite3_test

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

var errEntry = errors.New("not this one")

// commanding is a database and a handler's commands on it.
func commanding(t *testing.T, params string, h groupcommit.Handler[entry, int], opts ...groupcommit.HandlerOption) (*sql.DB, *groupcommit.Commands[entry, int]) {
	t.Helper()
	db := ours(t, dsnOf(t, params), "CREATE TABLE u (k INTEGER UNIQUE)", "CREATE TABLE e (k INTEGER)",
		"CREATE TABLE child (k INTEGER REFERENCES u (k) DEFERRABLE INITIALLY DEFERRED)", "INSERT INTO u VALUES (1)")
	cs, err := groupcommit.Handle(db, h, opts...)
	require.NoError(t, err)
	return db, cs
}

func TestNothingIsExecutedAfterAStatementHasEndedAHandlersTransaction(t *testing.T) {
	writes := func(ctx context.Context, tx *sql.Tx) error {
		tx.ExecContext(ctx, "INSERT OR ROLLBACK INTO u VALUES (1)") // the handler thinks nothing of it
		_, err := tx.ExecContext(ctx, "INSERT INTO e VALUES (1)")
		return err
	}
	for name, h := range map[string]groupcommit.Handler[entry, int]{
		"it goes on": func(ctx context.Context, tx *sql.Tx, _ []*groupcommit.Command[entry, int]) error {
			return writes(ctx, tx)
		},
		"it goes on, and thinks nothing of that": func(ctx context.Context, tx *sql.Tx, _ []*groupcommit.Command[entry, int]) error {
			writes(ctx, tx)
			return nil
		},
		"each": groupcommit.Each(func(ctx context.Context, tx *sql.Tx, _ entry) (int, error) { return 1, writes(ctx, tx) }),
		"a savepoint": func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[entry, int]) error {
			tx.ExecContext(ctx, "INSERT OR ROLLBACK INTO u VALUES (1)")
			return batch[0].Try(func() (int, error) { return 1, writes(ctx, tx) })
		},
		"rows": func(ctx context.Context, tx *sql.Tx, _ []*groupcommit.Command[entry, int]) error {
			if rows, err := tx.QueryContext(ctx, "INSERT OR ROLLBACK INTO u VALUES (1) RETURNING k"); err == nil {
				rows.Next()
				rows.Close()
			}
			_, err := tx.ExecContext(ctx, "INSERT INTO e VALUES (1)")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			db, cs := commanding(t, "", h, groupcommit.Retry(groupcommit.Constant(0, 2)))
			_, err := cs.Do(background, "", entry{1})
			require.ErrorContains(t, err, "a statement of the handler has failed and ended the transaction")
			require.Zero(t, count(t, db, "SELECT count(*) FROM e"))
		})
	}
}

func TestACommandWhoseCommitAConstraintRefusesIsRejectedAtOnce(t *testing.T) {
	tries := 0
	db, cs := commanding(t, "&_fk=on&groupcommit_promises=on", func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[entry, int]) error {
		tries++
		for _, c := range batch {
			if _, err := tx.ExecContext(ctx, "INSERT INTO child VALUES (?)", c.Value.N); err != nil {
				return err
			}
		}
		return nil
	}, groupcommit.Retry(groupcommit.Constant(time.Hour, 1)))
	_, err := cs.Do(background, "orphan", entry{2})
	var refused mattn.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, mattn.ErrConstraintForeignKey, refused.ExtendedCode)
	_, err = cs.Do(background, "orphan", entry{2})
	require.ErrorAs(t, err, new(*groupcommit.RejectedError), "it was recorded")
	require.Equal(t, 1, tries)
	_, err = cs.Do(background, "child", entry{1})
	require.NoError(t, err)
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM child"))
}

// With a savepoint the neighbours of a command that fails need not be handled again.
func TestNeighboursOfAFailingCommandAreHandledOnce(t *testing.T) {
	handled := make(map[int]int)
	there, opened := make(chan struct{}), make(chan struct{})
	open := sync.OnceFunc(func() { close(opened) })
	_, cs := commanding(t, "", groupcommit.Each(func(_ context.Context, _ *sql.Tx, v entry) (int, error) {
		if v.N < 0 {
			close(there)
			<-opened
			return 0, nil
		}
		if handled[v.N]++; v.N == 2 {
			return 0, errEntry
		}
		return v.N, nil
	}), groupcommit.Retry(groupcommit.Never))
	t.Cleanup(open) // closing the database waits for the handler
	cs.Go(background, "", entry{-1})
	bounded.Receive(t, "the handler has its first batch", there)
	var promises []*groupcommit.PromiseOf[int]
	for k := range 5 {
		promises = append(promises, cs.Go(background, "", entry{k}))
	}
	open()
	for k, p := range promises {
		r, err := p.Await(background)
		if k == 2 {
			require.Same(t, errEntry, err)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, k, r)
	}
	require.Equal(t, map[int]int{0: 1, 1: 1, 2: 2, 3: 1, 4: 1}, handled)
}
