package pgx_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/require"
)

// A program says NOWAIT, or sets lock_timeout, in order to be told at once.
func TestALockThatIsNotAvailableIsAnAnswerAndIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	counting := groupcommit.Retry(func(failed int) (time.Duration, bool) { asked.Add(1); return 0, failed < 3 })
	nowait := call{"WITH l AS (SELECT k FROM rows WHERE k = $1 FOR UPDATE NOWAIT) UPDATE rows SET v = 'mine' FROM l WHERE rows.k = l.k", []any{0}}
	for name, c := range map[string]call{"NOWAIT": nowait, "lock_timeout": touch(0)} {
		t.Run(name, func(t *testing.T) {
			impatient := pgtest.Param("lock_timeout", "50")
			r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{impatient}, counting)
			r.seed(3)
			tx, err := r.plain.Begin()
			require.NoError(r, err)
			defer tx.Rollback()
			_, err = tx.Exec("UPDATE rows SET v = 'held' WHERE k = 0")
			require.NoError(r, err)

			r.plain = r.open("pgx", pgtest.With(r.dsn, impatient))
			asked.Store(0)
			r.sameError(c, r.do(c).err)
			require.Zero(t, asked.Load(), "alone it was tried again")
			got := r.together(touch(1), c, touch(2))
			r.sameError(c, got[1].err)
			r.good(got, 1)
			require.Zero(t, asked.Load(), "of a group it was tried again")
		})
	}
}
