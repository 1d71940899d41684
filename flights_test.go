package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"testing"
	"testing/synctest"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// oneWriter is an engine for a database with one writer, for which a call waits as long as errBusy says.
type oneWriter struct{}

type oneWriterSession struct{ checkingSession }

const busyWait = 10 * time.Second

func (oneWriterSession) Traits() Traits {
	return Traits{Dialect: GenericSQL, Check: DefaultCheck, OneWriter: true, Busy: errBusy, BusyWait: busyWait}
}

func (e oneWriter) Open(ctx context.Context, conn driver.Conn, s Settings) (Session, error) {
	return oneWriterSession{checkingSession{anySession{conn}}}, nil
}

// withIDs lets the calls of a database have ids, though it has no table for them: what is under way needs none.
func withIDs(t *testing.T, db *sql.DB) *database {
	require.NoError(t, db.Ping())
	d, err := databaseOf(db)
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
