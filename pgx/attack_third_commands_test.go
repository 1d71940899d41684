package pgx_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/stretchr/testify/require"
)

// What is put aside runs in a goroutine and on a connection for each batch, and nothing bounds these.
func TestAttackConnectionsForWhatIsAside(t *testing.T) {
	r := setUp(t, groupcommit.Promises())
	var now, most atomic.Int32
	cs := handle(t, r.db, func(ctx context.Context, tx *sql.Tx, b entries) error {
		if len(b) == 1 && b[0].Value.K%3 == 0 {
			n := now.Add(1)
			defer now.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			_, err := tx.ExecContext(ctx, "SELECT pg_sleep(3)")
			return err
		}
		for _, c := range b {
			if err := c.Try(func() (int, error) {
				if len(b) > 1 && c.Value.K%3 == 0 {
					return 0, errOops
				}
				return 1, nil
			}); err != nil {
				return err
			}
		}
		return nil
	}, groupcommit.MaxLen(3), groupcommit.Retry(groupcommit.Never))
	var ps []*groupcommit.PromiseOf[int]
	for i := range 600 {
		ps = append(ps, cs.Go(background, "", entry{i}))
	}
	errs := map[string]int{}
	for _, p := range ps {
		if _, err := answered(t, p, 60*time.Second); err != nil {
			errs[err.Error()]++
		}
	}
	t.Logf("at most %d handlers at once; errors: %v", most.Load(), errs)
	require.LessOrEqual(t, most.Load(), int32(40))
	require.Empty(t, errs)
}

func TestAttackRecoverMany(t *testing.T) {
	r := setUp(t, groupcommit.Promises())
	require.NoError(t, r.db.Close())
	for _, n := range []int{10_000, 100_000} {
		name := fmt.Sprintf("pgx-attack-%d", drivers.Add(1))
		groupcommit.Register(name, r.plain.Driver(), groupcommit.Promises())
		db := r.open(name, r.dsn)
		require.NoError(t, db.Ping())
		r.exec(r.plain, "INSERT INTO groupcommit_promises (id, state, create_key, kind, param, created_at) SELECT 'o' || n, 0, '\\x00', 'pgx_test.entry', convert_to('{\"K\":1}', 'UTF8'), n FROM generate_series(1, $1) n", n)
		r.exec(r.plain, "ANALYZE")
		start := time.Now()
		cs := handle(t, db, func(context.Context, *sql.Tx, entries) error { return nil }, groupcommit.Durable())
		ctx, cancel := context.WithTimeout(background, 60*time.Second)
		err := cs.Recover(ctx)
		cancel()
		t.Logf("%d pending: %v %v; left %s", n, time.Since(start), err, r.value("SELECT count(*) FROM groupcommit_promises WHERE state = 0"))
		require.NoError(t, db.Close())
	}
}
