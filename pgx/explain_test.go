package pgx_test

import (
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// Each case makes the call, so what Explain says is what becomes of it.
func TestWhatExplainSaysBecomesOfACall(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	r.exec(r.plain, "CREATE SEQUENCE s")
	r.exec(r.plain, "SELECT nextval('s')")
	for _, test := range []struct {
		query string
		args  []any
		want  groupcommit.Why
	}{
		{"INSERT INTO rows (k, v) VALUES ($1, 'a')", []any{1}, groupcommit.WhyNot},
		{"INSERT INTO rows (k, v) VALUES (nextval('s') + 1000, 'a')", nil, groupcommit.WhyNot},
		{"INSERT INTO rows (k, v) VALUES ($1, 'a')", []any{pgx.QueryExecModeExec, 2}, groupcommit.WhyArgument},
		{"UPDATE rows SET v = txid_current()::text", nil, groupcommit.WhyAsks},
		{"UPDATE rows SET v = 'a'; UPDATE rows SET v = 'b'", nil, groupcommit.WhySeveral},
		{"VACUUM rows", nil, groupcommit.WhyOther},
		{"BEGIN; COMMIT", nil, groupcommit.WhyControl},
		{"SET application_name = 'a'", nil, groupcommit.WhySession},
	} {
		e, err := groupcommit.Explain(background, r.db, test.query, test.args...)
		require.NoError(t, err)
		require.Equal(t, test.want, e.Why, test.query)
		before := r.stats()
		r.exec(r.db, test.query, test.args...)
		after := r.stats()
		if e.Grouped() {
			require.Equal(t, before.Calls+1, after.Calls, test.query)
		} else {
			require.Equal(t, before.Calls, after.Calls, test.query)
			require.Equal(t, before.Apart[test.want]+1, after.Apart[test.want], test.query)
		}
	}
}
