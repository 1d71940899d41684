package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type anyCmd struct{ N int }

var errOops = errors.New("oops")

func attackAny(t *testing.T, f *fake, h Handler[anyCmd, int], opts ...Option) (*sql.DB, *Commands[anyCmd, int]) {
	db := f.db(t)
	cs, err := Handle(db, h, opts...)
	require.NoError(t, err)
	return db, cs
}

func settledOf(t *testing.T, p *PromiseOf[int]) (int, error) {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("no answer")
	}
	return p.Await(context.Background())
}

func TestAttackAnyDriver(t *testing.T) {
	f := newFake()
	tries := 0
	_, cs := attackAny(t, f, func(ctx context.Context, tx *sql.Tx, b []*Command[anyCmd, int]) error {
		tries++
		for _, c := range b {
			if err := c.Try(func() (int, error) {
				q := "INSERT INTO a VALUES (1)"
				if c.Value.N == 2 {
					q = "INSERT FAIL"
				}
				_, err := tx.ExecContext(ctx, q)
				return c.Value.N, err
			}); err != nil {
				return err
			}
		}
		return nil
	}, Retry(Constant(0, 2)))
	_, err := settledOf(t, cs.Go(context.Background(), "", anyCmd{1}))
	require.NoError(t, err)
	_, err = settledOf(t, cs.Go(context.Background(), "", anyCmd{2}))
	require.Same(t, errFake, err)
	f.on("rollback", "", 1, errors.New("rollback fails"))
	_, err = settledOf(t, cs.Go(context.Background(), "", anyCmd{2}))
	require.Same(t, errFake, err)
	f.on("commit", "", 1, driver.ErrBadConn)
	_, err = settledOf(t, cs.Go(context.Background(), "", anyCmd{3}))
	require.ErrorAs(t, err, new(*OutcomeUnknownError))
	require.NotErrorIs(t, err, driver.ErrBadConn)
	f.restart()
	_, err = settledOf(t, cs.Go(context.Background(), "", anyCmd{3}))
	require.NoError(t, err)
	require.Len(t, f.stored(), 2)
}

// A COMMIT that the database refuses (a deferred constraint) is an error that nobody sees.
func TestAttackAnyDriverRefusedCommit(t *testing.T) {
	f := newFake()
	_, cs := attackAny(t, f, func(ctx context.Context, tx *sql.Tx, b []*Command[anyCmd, int]) error { return nil }, Retry(Never))
	f.on("commit", "", 1, errFake)
	_, err := settledOf(t, cs.Go(context.Background(), "", anyCmd{3}))
	t.Log(err)
}

func TestAttackAnyDriverHandlersCommit(t *testing.T) {
	f := newFake()
	n := 0
	_, cs := attackAny(t, f, func(ctx context.Context, tx *sql.Tx, b []*Command[anyCmd, int]) error {
		n++
		tx.ExecContext(ctx, "INSERT INTO a VALUES (1)")
		tx.Commit()
		return errOops
	}, Retry(Constant(0, 3)))
	_, err := settledOf(t, cs.Go(context.Background(), "", anyCmd{3}))
	t.Log(n, err)
	require.Equal(t, 1, n)
}
