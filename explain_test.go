package groupcommit

import (
	"bytes"
	"context"
	"database/sql"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/internal/applog"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

func TestEveryReasonHasALabelOfItsOwn(t *testing.T) {
	seen := make(map[string]Why)
	for w := range whys {
		w := Why(w)
		assert.NotEmpty(t, w.Label())
		assert.NotEmpty(t, w.String())
		assert.NotContains(t, seen, w.Label())
		seen[w.Label()] = w
	}
	assert.Equal(t, "invalid", Why(len(whys)).Label())
	assert.Equal(t, "invalid", Why(len(whys)).String())
}

func TestCallsBesideAHookAreExplained(t *testing.T) {
	f := newFake()
	close(f.hold)
	db := f.db(t, WithEngine(hooked{}))
	e, err := Explain(t.Context(), db, "INSERT INTO t VALUES (?)", 1)
	require.NoError(t, err)
	require.Equal(t, WhyHook, e.Why)
	require.NoError(t, execOf(db, "INSERT a")())
	s, err := StatsOf(db)
	require.NoError(t, err)
	require.Equal(t, map[Why]int64{WhyHook: 1}, s.Apart)
}

func TestNoCallOfAClosedDatabaseIsExplained(t *testing.T) {
	db := newFake().db(t)
	require.NoError(t, execOf(db, "INSERT a")())
	require.NoError(t, db.Close())
	_, err := Explain(t.Context(), db, "INSERT a")
	require.ErrorIs(t, err, ErrClosed)
}

// A logInto writes into a database what is logged of it.
type logInto struct {
	db   *sql.DB
	what string // is in the line; other databases have theirs
}

func (l logInto) Enabled(context.Context, slog.Level) bool { return true }
func (l logInto) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l logInto) WithGroup(string) slog.Handler            { return l }
func (l logInto) Handle(ctx context.Context, r slog.Record) error {
	if !strings.Contains(r.Message, l.what) {
		return nil
	}
	_, err := l.db.ExecContext(ctx, "INSERT INTO log VALUES (?)", r.Message)
	return err
}

func TestALineOfTheLogMayBeWrittenIntoTheDatabaseItself(t *testing.T) {
	for what, test := range map[string]struct {
		calls int
		opts  []Option
	}{
		"because a hook": {1, []Option{WithEngine(hooked{})}},
		"came alone":     {hintAfter, nil},
	} {
		t.Run(what, func(t *testing.T) {
			f := newFake()
			close(f.hold)
			db := f.db(t, test.opts...)
			db.SetMaxOpenConns(1)
			before := slog.Default()
			slog.SetDefault(slog.New(logInto{db, what}))
			defer slog.SetDefault(before)
			bounded.Wait(t, "the calls and the lines are over", func() {
				for range test.calls {
					require.NoError(t, execOf(db, "INSERT a")())
				}
				applog.Wait()
			})
			s, err := StatsOf(db)
			require.NoError(t, err)
			require.Equal(t, test.calls+1, int(s.Calls+s.Apart[WhyHook]), "one is the line's")
		})
	}
}

// hinted makes calls one after the other, on a pool of one connection if known says so, which each of them waits for if waits
// says so. It returns what the log says.
func hinted(t *testing.T, level slog.Level, calls int, known, waits bool) string {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: level})))
	defer slog.SetDefault(before)
	db := newFake().db(t)
	if known {
		db.SetMaxOpenConns(1)
		_, err := Explain(t.Context(), db, "INSERT a")
		require.NoError(t, err)
	}
	if !waits {
		for range calls {
			require.NoError(t, execOf(db, "INSERT a")())
		}
		applog.Wait()
		return log.String()
	}
	taken, err := db.Conn(t.Context())
	require.NoError(t, err)
	var all errgroup.Group
	for range calls {
		all.Go(execOf(db, "INSERT a"))
	}
	require.Eventually(t, func() bool { return db.Stats().WaitCount >= int64(calls) }, 10*time.Second, time.Millisecond)
	require.NoError(t, taken.Close())
	require.NoError(t, all.Wait())
	applog.Wait()
	return log.String()
}

func TestTheLogSaysOnceThatThePoolHasOneConnection(t *testing.T) {
	said := hinted(t, slog.LevelInfo, 3*hintAfter, true, true)
	require.Equal(t, 1, strings.Count(said, "\n"), said)
	require.Regexp(t, `level=INFO msg="groupcommit: \d+ of \d+ writes came alone" because=SetMaxOpenConns\(1\)`, said)
}

func TestTheLogSaysNothingOfAProgramThatWritesFromOneGoroutineUnlessItIsAsked(t *testing.T) {
	require.Empty(t, hinted(t, slog.LevelInfo, 2*hintAfter, true, false))
	require.Empty(t, hinted(t, slog.LevelInfo, 2*hintAfter, false, false))
	said := hinted(t, slog.LevelDebug, 2*hintAfter, false, false)
	require.Contains(t, said, "the program's pool has had one connection at a time: SetMaxOpenConns(1), or one goroutine writes")
	require.Empty(t, hinted(t, slog.LevelDebug, hintAfter-1, false, false))
}

// The calls of partitions are in other queues.
func TestTheLogSaysNothingOfGroupsThatWereNotTheDatabases(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	defer slog.SetDefault(before)
	db := newFake().db(t)
	require.NoError(t, execOf(db, "INSERT a")())
	d, err := databaseOf(t.Context(), db)
	require.NoError(t, err)
	for range 3 * hintAfter {
		d.countLone()
	}
	applog.Wait()
	require.Empty(t, log.String())
}
