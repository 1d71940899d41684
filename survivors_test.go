package groupcommit

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Where calls may be executed at the same time, those that wait for something are put off, each on a connection of its own.
// There may be thousands of them, and the program's pool says how many connections they may have.
func TestCallsThatWaitShareTheConnectionsOfTheProgramsPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		db := f.db(t, Writers(2), MaxLen(1))
		db.SetMaxOpenConns(64)
		var promises []*Promise
		for i := range 200 {
			promises = append(promises, Go(t.Context(), db, fmt.Sprintf("INSERT INTO plug VALUES (%d)", i)))
		}
		time.Sleep(time.Hour) // each lone call keeps the lead for a tenth of a second
		assert.Equal(t, 64, f.count("exec"), "calls that are being executed")
		close(f.hold)
		for _, p := range promises {
			_, err := p.Await(t.Context())
			require.NoError(t, err)
		}
		assert.Len(t, f.stored(), 200)
	})
}

// A connection whose transaction may still be open is nobody's any more, where the driver cannot be asked: its rollback has
// failed, or was made under a context that had ended, so that nothing may have been sent.
func TestAConnectionOfWhichNobodyKnowsThatItsTransactionIsOverIsClosed(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, f *fake, tx *sql.Tx, cancel func()){
		"its rollback fails": func(t *testing.T, f *fake, tx *sql.Tx, _ func()) {
			f.on("rollback", "", 1, errFake)
			require.Equal(t, errFake, tx.Rollback())
		},
		"its context ends": func(t *testing.T, f *fake, tx *sql.Tx, cancel func()) {
			cancel()
			synctest.Wait()
			require.Equal(t, 1, f.count("rollback"))
			require.Error(t, tx.Rollback())
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				db := f.usedDB(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				tx, err := db.BeginTx(ctx, nil)
				require.NoError(t, err)
				_, err = tx.Exec("INSERT INTO a VALUES (1)")
				require.NoError(t, err)
				end(t, f, tx, cancel)
				synctest.Wait()
				assert.Equal(t, 1, f.count("close"))
				_, err = db.Exec("INSERT INTO a VALUES (2)")
				require.NoError(t, err)
				assert.Len(t, f.stored(), 1)
			})
		})
	}
}

// Promises of many keys lead groups side by side, and no caller of them has a connection of the program's pool.
func TestGroupsOfManyKeysShareTheConnectionsOfTheProgramsPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		db := f.db(t, Partition(byTenant), MaxLen(2), MaxDelay(time.Hour))
		db.SetMaxOpenConns(24)
		var promises []*Promise
		for tenant := range 100 {
			for range 2 {
				promises = append(promises, Go(as(tenant), db, fmt.Sprintf("INSERT INTO plug VALUES (%d)", tenant)))
			}
		}
		synctest.Wait()
		assert.Equal(t, 24, f.count("begin"), "groups that are being executed")
		close(f.hold)
		for _, p := range promises {
			_, err := p.Await(t.Context())
			require.NoError(t, err)
		}
		assert.Len(t, f.stored(), 200)
	})
}

// A group is given up when all of its callers have gone. One who would wait for ever is enough for it to go on.
func TestAGroupGoesOnForACallerWhoseContextNeverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		db := f.db(t, MaxLen(2), MaxDelay(time.Hour))
		ctx, cancel := context.WithCancel(t.Context())
		gone := Go(ctx, db, "INSERT INTO plug VALUES (1)")
		stays := Go(context.Background(), db, "INSERT INTO a VALUES (2)")
		synctest.Wait()
		cancel()
		time.Sleep(10 * time.Second) // more than a second, after which a group may be given up
		close(f.hold)
		for _, p := range []*Promise{gone, stays} {
			_, err := p.Await(t.Context())
			require.NoError(t, err)
		}
		assert.Zero(t, f.count("rollback"))
		assert.Equal(t, 1, f.count("commit"))
	})
}
