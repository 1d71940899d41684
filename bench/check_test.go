package main

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheCheckFindsWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ name, change, want string }{
		{"nothing", "", ""},
		{"a lost value", "DELETE FROM users WHERE value = 17", "the database is wrong: 199 rows, 200 expected; missing: 17"},
		{"a doubled value", "INSERT INTO users (value) VALUES (3)", "the database is wrong: 201 rows, 200 expected; more than once: 3 (2 times)"},
		{"one lost, another doubled", "UPDATE users SET value = 8 WHERE value = 7", "the database is wrong: 200 rows, 200 expected; missing: 7; more than once: 8 (2 times)"},
		{"an altered value", "UPDATE users SET value = 1005 WHERE value = 5", "the database is wrong: 200 rows, 200 expected; missing: 5; never inserted: 1005 (row 6)"},
		{"a negative value", "UPDATE users SET value = -1 WHERE value = 0", "the database is wrong: 200 rows, 200 expected; missing: 0; never inserted: -1 (row 1)"},
		{"a fraction", "UPDATE users SET value = 5.5 WHERE value = 5", "the database is wrong: 200 rows, 200 expected; missing: 5; never inserted: 5.5 (row 6)"},
		{"a text", "UPDATE users SET value = 'five' WHERE value = 5", `the database is wrong: 200 rows, 200 expected; missing: 5; never inserted: "five" (row 6)`},
		{"a NULL", "UPDATE users SET value = NULL WHERE value = 5", "the database is wrong: 200 rows, 200 expected; missing: 5; never inserted: NULL (row 6)"},
		{"everything gone", "DELETE FROM users", "the database is wrong: 0 rows, 200 expected; missing: 0, 1, 2, 3, 4 and 195 more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			db, w := filled(t, 200)
			_, err := db.Exec(c.change)
			require.NoError(t, err)
			var want int
			require.NoError(t, db.QueryRow("SELECT count(*) FROM users").Scan(&want))
			rows, err := check(context.Background(), db, w)
			assert.Equal(t, want, rows)
			if c.want == "" {
				assert.NoError(t, err)
			} else {
				assert.EqualError(t, err, c.want)
			}
		})
	}
}

// filled is a database with the values 0 to n-1.
func filled(t *testing.T, n int) (*sql.DB, *work) {
	r := &run{side: plain, synchronous: "off"}
	h, err := dir(t.TempDir()).home(r)
	require.NoError(t, err)
	db, err := r.fresh(context.Background(), h)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	w := &work{home: h, users: n}
	require.NoError(t, loop(context.Background(), db, w))
	return db, w
}

func TestAWrongRunIsReportedAndFails(t *testing.T) {
	forgetful := func(ctx context.Context, db *sql.DB, w *work) error {
		if err := execs(ctx, db, w); err != nil {
			return err
		}
		_, err := db.Exec("DELETE FROM users WHERE value = 4")
		return err
	}
	for _, s := range []side{plain, grouped} {
		l := &lab{place: dir(t.TempDir())}
		s.api = forgetful
		_, err := l.alone(context.Background(), run{side: s, users: 10, goroutines: 2, synchronous: "off"})
		assert.ErrorContains(t, err, "the database is wrong: 9 rows, 10 expected; missing: 4")
		require.Len(t, l.results, 1)
		assert.Equal(t, 9, l.results[0].Rows)
	}
}

func TestAnInsertThatFailsNamesItsValue(t *testing.T) {
	guarded := func(ctx context.Context, db *sql.DB, w *work) error {
		if _, err := db.Exec("CREATE UNIQUE INDEX one ON users (value % 5)"); err != nil {
			return err
		}
		return execs(ctx, db, w)
	}
	for _, s := range []side{plain, grouped} {
		l := &lab{place: dir(t.TempDir())}
		s.api = guarded
		_, err := l.alone(context.Background(), run{side: s, users: 6, goroutines: 1, synchronous: "off"})
		assert.ErrorContains(t, err, "value 5: UNIQUE constraint failed: index 'one'")
		assert.Empty(t, l.results)
	}
}

func TestCallsThatClashGetTheirViolation(t *testing.T) {
	for _, s := range []side{plain, grouped} {
		l := &lab{place: dir(t.TempDir())}
		res, err := l.alone(context.Background(), run{side: s, users: 250, goroutines: 8, synchronous: "off", clash: 100})
		require.NoError(t, err)
		assert.Equal(t, 250-3+1, res.Rows)
	}
}

func TestOnlyTheCallsThatClashMayFailAndTheyMust(t *testing.T) {
	violation, other := errors.New("a violation"), errors.New("another")
	w := &work{home: home{violation: func(err error) bool { return err == violation }}, users: 250, clash: 100}
	w.next.Store(250)
	assert.Equal(t, 247, w.rows())
	assert.NoError(t, w.verdict(100, violation))
	assert.NoError(t, w.verdict(101, nil))
	assert.EqualError(t, w.verdict(100, nil), "call 100: no error, but a unique violation expected")
	assert.ErrorIs(t, w.verdict(100, other), other)
	assert.EqualError(t, w.verdict(101, violation), "value 101: a violation")
}
