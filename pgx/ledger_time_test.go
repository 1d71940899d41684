package pgx_test

import (
	"fmt"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	"github.com/stretchr/testify/require"
)

// A call that takes long would be forgotten too early if its age was that of its claim.
func TestAPromiseIsAsOldAsItsCompletion(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, run func(*rig, named) outcome) {
		for _, rows := range []int64{1, 3} {
			t.Run(fmt.Sprint(rows), func(t *testing.T) {
				r := ledgerRig(t)
				slow := named{"a", call{"INSERT INTO log (k) SELECT extract(epoch FROM clock_timestamp()) * 1000 FROM generate_series(1, $1), pg_sleep(0.6)", []any{rows}}}
				require.Equal(t, outcome{rows: rows}, run(r, slow))
				require.Equal(t, "true", r.value("SELECT (SELECT completed_at FROM groupcommit_promises WHERE id = 'a') >= max(k) FROM log"), "it is completed after it has looked at the clock")
				r.forget()
				require.Equal(t, outcome{rows: rows, replayed: true}, execID(background, r.db, slow))
			})
		}
	})
}

func TestACallThatTakesLongerThanTheRetentionKeepsItsRecord(t *testing.T) {
	t.Parallel()
	r := ledgerRig(t)
	require.Equal(t, done, execID(background, r.db, named{"a", call{"INSERT INTO log (k) SELECT $1 FROM pg_sleep(3)", []any{1}}}))
	_, err := durable.DeleteOlder(background, r.plain, 3e9, 1000)
	require.NoError(t, err)
	_, err = groupcommit.Lookup(background, r.db, "a")
	require.NoError(t, err)
}
