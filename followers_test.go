package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"testing"
	"testing/synctest"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// troubled is an engine whose first call alone waits, and fails.
type troubled struct {
	err   error
	final bool          // whoever calls again gets the same
	fail  chan struct{} // closed when the first is to fail
	calls *int
}

func (e troubled) Open(_ context.Context, conn driver.Conn, _ engine.Settings) (engine.Session, error) {
	return troubledSession{anySession{conn}, e}, nil
}

type troubledSession struct {
	anySession
	troubled
}

func (s troubledSession) Traits() engine.Traits {
	return engine.Traits{Dialect: engine.GenericSQL, Writers: 2, Final: func(err error) (string, bool) { return "", s.final && err == s.err }}
}

func (s troubledSession) Idle() bool { return true }

func (s troubledSession) Alone(c *Call) (driver.Result, error) {
	if *s.calls++; *s.calls == 1 {
		<-s.fail
		return nil, s.err
	}
	return s.anySession.Alone(c)
}

// attached begins a call, attaches another with the same id to it, and lets the first one fail.
func attached(t *testing.T, db *sql.DB, e troubled, first context.Context, follow func(context.Context) error) (firstErr, followErr error) {
	errs := [2]chan error{make(chan error), make(chan error)}
	go func() { _, err := db.ExecContext(WithID(first, "mine"), "INSERT a"); errs[0] <- err }()
	synctest.Wait()
	go func() { errs[1] <- follow(WithID(t.Context(), "mine")) }()
	synctest.Wait()
	require.Equal(t, 1, *e.calls)
	close(e.fail)
	return <-errs[0], <-errs[1]
}

func TestAFailedConnectionIsNotTheErrorOfWhoIsAttached(t *testing.T) {
	for name, ask := range asked {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e := troubled{err: driver.ErrBadConn, fail: make(chan struct{}), calls: new(int)}
				db := f.db(t, WithEngine(e))
				withIDs(t, db)
				first, second := attached(t, db, e, t.Context(), func(ctx context.Context) error {
					_, err := ask(ctx, db, "INSERT a")
					return err
				})
				require.NoError(t, first, "database/sql calls again")
				require.NoError(t, second)
				assert.Len(t, f.stored(), 1)
			})
		})
	}
}

func TestAFailedConnectionDoesNotCostWhoIsAttachedItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e := troubled{err: driver.ErrBadConn, fail: make(chan struct{}), calls: new(int)}
		db := f.db(t, WithEngine(e))
		withIDs(t, db)
		c, err := db.Conn(t.Context())
		require.NoError(t, err)
		defer c.Close()
		var s string
		require.NoError(t, c.QueryRowContext(t.Context(), "SELECT").Scan(&s)) // on a connection that c has from now on
		_, second := attached(t, db, e, t.Context(), func(ctx context.Context) error {
			_, err := c.ExecContext(ctx, "INSERT a")
			return err
		})
		require.NoError(t, second)
		require.NoError(t, c.PingContext(t.Context()), "c has lost its connection")
	})
}

func TestAnErrorOfAConnectionOfItsOwnIsItsCallersAlone(t *testing.T) {
	for name, ask := range asked {
		for _, final := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFake()
					e := troubled{err: errFake, final: final, fail: make(chan struct{}), calls: new(int)}
					db := f.db(t, WithEngine(e))
					withIDs(t, db)
					first, second := attached(t, db, e, NoBatch(t.Context()), func(ctx context.Context) error {
						_, err := ask(ctx, db, "INSERT a")
						return err
					})
					require.Equal(t, errFake, first)
					if final {
						require.Equal(t, errFake, second, "it is everybody's")
						assert.Empty(t, f.stored())
					} else {
						require.NoError(t, second)
						assert.Len(t, f.stored(), 1)
					}
				})
			})
		}
	}
}
