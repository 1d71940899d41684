package pgx_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/assert"
)

func TestTwoProgramsWithTheSameIDsExecuteEachOnceAtEveryLevelOfIsolation(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"read committed", "repeatable read", "serializable"} {
		for _, mode := range []groupcommit.GroupMode{groupcommit.Transaction, groupcommit.Autocommit} {
			t.Run(level+" "+mode.String(), func(t *testing.T) {
				isolated := pgtest.Param("default_transaction_isolation", level)
				r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{isolated}, groupcommit.Promises(), groupcommit.Mode(mode))
				r.exec(r.db, "DELETE FROM log") // makes the ledger
				other := promising(r, pgtest.With(r.dsn, isolated), groupcommit.Mode(mode))
				const n = 16
				calls := ids(logs(n))
				r.exec(r.plain, "INSERT INTO rows (k) VALUES (7), (8)")
				calls[7].call, calls[8].call = insert(7), insert(8) // rejected
				var got [2][n]outcome
				var both sync.WaitGroup
				for i := range n {
					both.Go(func() { got[0][i] = execID(background, r.db, calls[i]) })
					both.Go(func() { got[1][n-1-i] = execID(background, other, calls[n-1-i]) })
				}
				bounded.Wait(t, "both have ended", both.Wait)
				for i := range n {
					one, two := got[0][i], got[1][i]
					if i == 7 || i == 8 {
						for _, o := range []outcome{one, two} {
							if !errors.As(o.err, new(*groupcommit.RejectedError)) {
								assert.Equal(t, "23505", sqlState(o.err), "%v", o.err)
							}
						}
						continue
					}
					assert.NoError(t, one.err)
					assert.NoError(t, two.err)
					assert.NotEqual(t, one.replayed, two.replayed, "%d: one of them has executed it", i)
				}
				assert.Equal(t, fmt.Sprint(n-2), r.promises("state = 1"))
				assert.Equal(t, "2", r.promises("state = 2"))
			})
		}
	}
}
