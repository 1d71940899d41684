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

// What was left pending is taken again at once, while its first promise is not settled yet.
func TestAttackLeftPendingAndTakenAtOnce(t *testing.T) {
	r := setUp(t, groupcommit.Promises())
	var well atomic.Bool
	cs := handle(t, r.db, func(ctx context.Context, tx *sql.Tx, b entries) error {
		if well.Load() {
			return nil
		}
		_, err := tx.ExecContext(ctx, "DO $$ BEGIN RAISE EXCEPTION 'busy' USING ERRCODE = '40001'; END $$")
		return err
	}, groupcommit.Durable(), groupcommit.Retry(groupcommit.Never))
	ctx, cancel := context.WithTimeout(background, 3*time.Second)
	for range 4 {
		go cs.Recover(ctx) // asks for a round every 25 ms
	}
	n := 0
	for ctx.Err() == nil {
		var ps []*groupcommit.PromiseOf[int]
		for range 50 {
			ps = append(ps, cs.Go(background, fmt.Sprint("x ", n), entry{n}))
			n++
		}
		for _, p := range ps {
			answered(t, p, 10*time.Second)
		}
	}
	cancel()
	well.Store(true)
	ctx, cancel = context.WithTimeout(background, 8*time.Second)
	defer cancel()
	err := cs.Recover(ctx)
	t.Logf("%d commands, %s stuck", n, r.value("SELECT count(*) FROM groupcommit_promises WHERE state = 0"))
	require.NoError(t, err)
}

func TestAttackRecover100000(t *testing.T) {
	r := setUp(t, groupcommit.Promises())
	require.NoError(t, r.db.Ping())
	r.exec(r.plain, "INSERT INTO groupcommit_promises (id, state, create_key, kind, param, created_at) SELECT 'o' || n, 0, '\\x00', 'pgx_test.entry', convert_to('{\"K\":1}', 'UTF8'), n FROM generate_series(1, 100000) n")
	start := time.Now()
	cs := handle(t, r.db, func(context.Context, *sql.Tx, entries) error { return nil }, groupcommit.Durable())
	for range 3 {
		ctx, cancel := context.WithTimeout(background, 10*time.Second)
		err := cs.Recover(ctx)
		cancel()
		t.Logf("%v %v; left %s", time.Since(start), err, r.value("SELECT count(*) FROM groupcommit_promises WHERE state = 0"))
	}
}
