package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCommandsStandBesideExecAndThePlainDriver(t *testing.T) {
	code, out, errs := runProgram(t, "--api", "commands", "--users", "300", "--goroutines", "20", "--maxlen", "7", "--json", "-")
	assert.Zero(t, code, errs)
	assert.Regexp(t, `(?s)sqlite3 .*sqlite3-groupcommit \(Exec\) .*sqlite3-groupcommit \(commands\) .*ratio.*\(Exec\) .*\(commands\) `, errs)
	runs := decoded(t, []byte(out))
	require.Len(t, runs, 3)
	for i, driver := range []string{"sqlite3", "sqlite3-groupcommit", "sqlite3-groupcommit"} {
		r := runs[i]
		assert.Len(t, r, 20)
		assert.Equal(t, driver, r["driver"])
		assert.Equal(t, i > 0, r["batch"])
		assert.Equal(t, []string{"exec", "exec", "commands"}[i], r["api"])
		assert.Equal(t, 20.0, r["goroutines"])
		assert.Equal(t, 7.0, r["maxlen"])
		assert.Equal(t, 300.0, r["rows"])
		assert.InEpsilon(t, 300/r["commits"].(float64), r["mean_group"], 1e-9)
	}
	assert.LessOrEqual(t, runs[2]["max_group"], 7.0)
	assert.GreaterOrEqual(t, runs[2]["commits"], 43.0)
}

func TestVerboseSaysOneLineForEachBatch(t *testing.T) {
	out := new(bytes.Buffer)
	l := &lab{place: dir(t.TempDir()), out: out}
	res, err := l.alone(context.Background(), run{side: handled, users: 500, goroutines: 16, maxLen: 9, synchronous: "full", lines: newLines(out)})
	require.NoError(t, err)
	lines, total, covered := spans(t, out.String(), 500)
	assert.Equal(t, res.Commits, lines)
	assert.Equal(t, 500, total)
	assert.NotContains(t, covered, false)
}

func TestNothingIsSaidOfABatchThatIsRolledBack(t *testing.T) {
	left, w := filled(t, 0)
	require.NoError(t, left.Close())
	db, err := grouped.open(w.name, &run{side: grouped, synchronous: "off"})
	require.NoError(t, err)
	defer db.Close()
	said := 0
	w.saidAll = func(n, first, last int) { said += n }
	lost := errors.New("lost")
	users, err := groupcommit.Handle(db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[insertUser, *batchSpan]) error {
		if err := w.insertBatch(ctx, tx, batch); err != nil || batch[0].Value.ID == 1 {
			return errors.Join(err, lost)
		}
		return nil
	}, groupcommit.Retry(groupcommit.Never))
	require.NoError(t, err)
	assert.NoError(t, w.told(users.Do(context.Background(), "", insertUser{0})))
	assert.Equal(t, 1, said)
	assert.ErrorIs(t, w.told(users.Do(context.Background(), "", insertUser{1})), lost)
	assert.Equal(t, 1, said)
}

func TestACommandThatFailsNamesItsValue(t *testing.T) {
	one := promised
	one.api = promises(1)
	for _, s := range []side{handled, one} {
		_, err := (&lab{place: dir(t.TempDir())}).alone(context.Background(), run{side: oneIn5(s), users: 6, goroutines: 1, synchronous: "off"})
		assert.ErrorContains(t, err, "value 5: UNIQUE constraint failed: index 'one'")
	}
}

// oneIn5 is a side where value 5 violates a unique key.
func oneIn5(s side) side {
	whole := s.api
	s.api = func(ctx context.Context, db *sql.DB, w *work) error {
		if _, err := db.Exec("CREATE UNIQUE INDEX one ON users (value % 5)"); err != nil {
			return err
		}
		return whole(ctx, db, w)
	}
	return s
}

func TestAWindowHoldsSoManyPromises(t *testing.T) {
	for _, c := range []struct{ window, users int }{{1, 50}, {7, 50}, {50, 50}, {51, 50}, {1024, 3000}} {
		s := promised
		s.api = promises(c.window)
		res, err := (&lab{place: dir(t.TempDir())}).alone(context.Background(), run{side: s, users: c.users, synchronous: "off"})
		require.NoError(t, err)
		assert.Equal(t, c.users, res.Rows)
		assert.Equal(t, 1, res.Goroutines)
		assert.Equal(t, "commands", res.API)
		assert.LessOrEqual(t, res.MaxGroup, c.window)
	}
}

func TestAWindowIsFullBeforeAnythingIsAwaited(t *testing.T) {
	ctx := context.Background()
	left, w := filled(t, 0)
	require.NoError(t, left.Close())
	db, err := grouped.open(w.name, &run{side: grouped, synchronous: "off"})
	require.NoError(t, err)
	defer db.Close()
	writer, err := db.BeginTx(ctx, nil) // no command is handled before its end
	require.NoError(t, err)
	_, err = writer.Exec(w.insert, -1)
	require.NoError(t, err)

	w.users = 40
	done := make(chan error, 1)
	go func() { done <- promises(25)(ctx, db, w) }()
	require.Eventually(t, func() bool { return w.next.Load() == 25 }, 4*time.Second, time.Millisecond)
	require.NoError(t, writer.Rollback())
	require.NoError(t, <-done)
	assert.Equal(t, 25, w.commands.Stats().MaxGroup)
}
