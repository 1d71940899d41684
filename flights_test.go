package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// oneWriter is an engine for a database with one writer, for which a call waits as long as errBusy says.
type oneWriter struct{}

type oneWriterSession struct{ checkingSession }

const busyWait = 10 * time.Second

func (oneWriterSession) Traits() engine.Traits {
	return engine.Traits{Dialect: engine.GenericSQL, Check: engine.DefaultCheck, OneWriter: true, Busy: errBusy, BusyWait: busyWait}
}

func (e oneWriter) Open(ctx context.Context, conn driver.Conn, s engine.Settings) (engine.Session, error) {
	return oneWriterSession{checkingSession{anySession{conn}}}, nil
}

// withIDs lets the calls of a database have ids, though it has no table for them: what is under way needs none.
func withIDs(t *testing.T, db *sql.DB) *database {
	require.NoError(t, db.Ping())
	d, err := databaseOf(t.Context(), db)
	require.NoError(t, err)
	d.limits.promises = true
	return d
}

// asked are the two ways of a call with an id.
var asked = map[string]func(ctx context.Context, db *sql.DB, query string) (sql.Result, error){
	"Exec": func(ctx context.Context, db *sql.DB, query string) (sql.Result, error) {
		return db.ExecContext(ctx, query)
	},
	"Go": func(ctx context.Context, db *sql.DB, query string) (sql.Result, error) {
		return Go(ctx, db, query).Await(context.Background())
	},
}

func TestWhoseContextEndsWhileAnotherCallIsUnderWayIsToldSo(t *testing.T) {
	ends := map[durable.State]func(context.Context) (context.Context, context.CancelFunc){
		durable.RejectedCanceled: context.WithCancel,
		durable.RejectedTimedout: func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		},
	}
	for state, end := range ends {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			db := f.db(t, WithEngine(oneWriter{}))
			withIDs(t, db)
			first := Go(WithID(t.Context(), "mine"), db, "INSERT plug")
			synctest.Wait()
			ctx, cancel := end(WithID(t.Context(), "mine"))
			p := Go(ctx, db, "INSERT plug")
			execErr := make(chan error)
			go func() { _, err := db.ExecContext(ctx, "INSERT plug"); execErr <- err }()
			synctest.Wait()
			if state == durable.RejectedCanceled {
				cancel()
			}
			_, goErr := p.Await(t.Context())
			errs := []error{goErr, <-execErr}
			cancel()
			close(f.hold)
			_, err := first.Await(t.Context())
			require.NoError(t, err)
			assert.Len(t, f.stored(), 1)
			for _, err := range errs {
				var unknown *OutcomeUnknownError
				require.ErrorAs(t, err, &unknown)
				assert.Equal(t, "mine", unknown.ID)
				assert.ErrorContains(t, err, "under way")
				require.ErrorIs(t, err, ctx.Err())
			}
			assert.Equal(t, state, p.State())
		})
	}
}

// losing is an engine whose groups get no answer to COMMIT.
type losing struct{ meanwhile func() }

type losingSession struct {
	anySession
	losing
}

func (e losing) Open(_ context.Context, conn driver.Conn, _ engine.Settings) (engine.Session, error) {
	return losingSession{anySession{conn}, e}, nil
}

func (s losingSession) Traits() engine.Traits {
	return engine.Traits{Dialect: engine.GenericSQL, Check: engine.DefaultCheck, Writers: 2}
}

func (s losingSession) Group(context.Context, []*Call) engine.Outcome {
	s.meanwhile()
	return engine.Outcome{Verdict: engine.Unknown, Err: errFake}
}

func TestWhoseContextEndsBeforeALostCommitIsFoundOutIsToldThatItMayHaveRun(t *testing.T) {
	for range 20 { // there may be room to find out, or not
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			f := newFake()
			db := f.db(t, WithEngine(losing{cancel}), Writers(1))
			withIDs(t, db)
			release := occupy(t, f, db)
			p, q := Go(WithID(ctx, "mine"), db, "INSERT a"), Go(WithID(ctx, "yours"), db, "INSERT b")
			synctest.Wait()
			release()
			for _, p := range []*Promise{p, q} {
				_, err := p.Await(t.Context())
				var unknown *OutcomeUnknownError
				require.ErrorAs(t, err, &unknown)
				assert.Equal(t, p.ID(), unknown.ID)
				assert.Equal(t, errFake, unknown.Cause)
				require.ErrorIs(t, err, context.Canceled)
				assert.Equal(t, durable.RejectedCanceled, p.State())
			}
		})
	}
}

// A function that SQL calls may call with the id of the statement that it is called by.
func TestNobodyWaitsForEverForACallThatWaitsForIt(t *testing.T) {
	for name, ask := range asked {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				db := f.db(t, WithEngine(oneWriter{}))
				withIDs(t, db)
				ctx := WithID(t.Context(), "mine")
				outer := Go(ctx, db, "INSERT plug")
				synctest.Wait()
				start := time.Now()
				bounded, cancel := context.WithTimeout(ctx, time.Hour) // for the test's sake
				defer cancel()
				_, err := ask(bounded, db, "INSERT plug")
				assert.Equal(t, errBusy, err)
				assert.Equal(t, busyWait, time.Since(start))
				close(f.hold)
				_, err = outer.Await(t.Context())
				require.NoError(t, err)
				assert.Equal(t, durable.Resolved, outer.State())
				assert.Equal(t, []string{"INSERT plug []"}, f.stored())
			})
		})
	}
}

var errBusy = errors.New("database is locked")
