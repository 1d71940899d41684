package pgx_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func attackOpen(r *rig, dsn string, opts ...groupcommit.Option) *sql.DB {
	name := fmt.Sprintf("pgx-groupcommit-test-%d", drivers.Add(1))
	groupcommit.Register(name, stdlib.GetDefaultDriver(), append([]groupcommit.Option{groupcommit.Promises()}, opts...)...)
	return r.open(name, dsn)
}

func TestAttackPlainQueryUnderAContextWithAServerThatIsSilent(t *testing.T) {
	r, p := promised(t)
	_, err := r.db.Query("SELECT 1")
	require.NoError(t, err)
	p.OnClient(func(m proxy.Message) proxy.Action { return proxy.Drop })
	ctx, cancel := context.WithTimeout(background, 300*time.Millisecond)
	defer cancel()
	returned := make(chan error, 1)
	go func() { _, err := r.db.QueryContext(ctx, "SELECT 1"); returned <- err }()
	select {
	case err := <-returned:
		t.Log(err)
	case <-time.After(5 * time.Second):
		p.Close()
		t.Fatal("a query does not return though its context has ended 4.7 s ago")
	}
}

// Two programs with the same ids, at other levels of isolation and in the autocommit mode.
func TestAttackTwoProgramsAtEveryLevel(t *testing.T) {
	for _, level := range []string{"read committed", "repeatable read", "serializable"} {
		for _, mode := range []groupcommit.GroupMode{groupcommit.Transaction, groupcommit.Autocommit} {
			t.Run(level+" "+mode.String(), func(t *testing.T) {
				r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{pgtest.Param("default_transaction_isolation", level)}, groupcommit.Promises(), groupcommit.Mode(mode))
				r.exec(r.db, "DELETE FROM log")
				other := attackOpen(r, pgtest.With(r.dsn, pgtest.Param("default_transaction_isolation", level)), groupcommit.Mode(mode))
				const n = 100
				calls := ids(logs(n))
				r.exec(r.plain, "INSERT INTO rows (k) VALUES (7), (8)")
				calls[7].call, calls[8].call = insert(7), insert(8) // rejected
				got := [2][]outcome{make([]outcome, n), make([]outcome, n)}
				var both sync.WaitGroup
				for i := range n {
					both.Go(func() { got[0][i] = execID(background, r.db, calls[i]) })
					both.Go(func() { got[1][n-1-i] = execID(background, other, calls[n-1-i]) })
				}
				both.Wait()
				for i := range n {
					for _, g := range got {
						if i == 7 || i == 8 {
							var rejected *groupcommit.RejectedError
							if !errors.As(g[i].err, &rejected) {
								assert.Equal(t, "23505", sqlState(g[i].err), "%v", g[i].err)
							}
							continue
						}
						assert.NoError(t, g[i].err)
					}
					if i != 7 && i != 8 {
						assert.NotEqual(t, got[0][i].replayed, got[1][i].replayed, "%d: one of them executed it: %v %v", i, got[0][i], got[1][i])
					}
				}
				assert.Equal(t, fmt.Sprint(n-2), r.promises("state = 1"))
				assert.Equal(t, "2", r.promises("state = 2"))
			})
		}
	}
}

// Contexts that end at any moment: who hears of nothing but the context was not executed, and has no record.
func TestAttackContextsThatEndAtAnyMoment(t *testing.T) {
	for step, ctxOf := range map[time.Duration]func(context.Context) context.Context{
		150 * time.Microsecond: func(c context.Context) context.Context { return c },
	} {
		r := ledgerRig(t)
		for k := range 8 {
			require.Equal(t, done, execID(ctxOf(background), r.db, named{fmt.Sprint("warm", k), logged(-5)}))
		}
		const n = 1500
		errs := make([]error, n)
		var next atomic.Int64
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for {
					k := int(next.Add(1)) - 1
					if k >= n {
						return
					}
					ctx, cancel := context.WithTimeout(ctxOf(background), time.Duration(k%100)*step)
					errs[k] = execID(ctx, r.db, named{fmt.Sprint(k), logged(k)}).err
					cancel()
				}
			})
		}
		all.Wait()
		time.Sleep(200 * time.Millisecond)
		good, bare, unknown, lies := 0, 0, 0, 0
		for k, err := range errs {
			rows, records := r.value("SELECT count(*) FROM log WHERE k = $1", k), r.promises(fmt.Sprintf("id = '%d'", k))
			require.Equal(t, rows, records)
			var u *groupcommit.OutcomeUnknownError
			switch {
			case err == nil:
				good++
				require.Equal(t, "1", rows)
			case errors.As(err, &u):
				unknown++
			default:
				bare++
				if rows != "0" {
					lies++
					t.Log(err)
				}
			}
		}
		t.Log("good", good, "bare", bare, "unknown", unknown, "lies", lies)
		assert.Zero(t, lies)
	}
}
