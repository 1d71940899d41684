package pgx_test

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	ours "github.com/groupcommit/groupcommit/pgx"
	"github.com/stretchr/testify/require"
)

// load is calls from many goroutines, and what each was told.
type load struct {
	*rig
	stop  chan struct{}
	done  sync.WaitGroup
	next  atomic.Int64
	mu    sync.Mutex
	kept  []int64 // answered with success
	lost  []int64 // answered with *OutcomeUnknownError
	other []error // of the others
}

func (r *rig) load(callers int) *load {
	l := &load{rig: r, stop: make(chan struct{})}
	r.db.SetMaxIdleConns(keptIdle)
	for range callers {
		l.done.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				k := l.next.Add(1)
				_, err := r.db.Exec("INSERT INTO log (k) VALUES ($1)", k)
				l.note(k, err)
			}
		})
	}
	return l
}

func (l *load) note(k int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var unknown *groupcommit.OutcomeUnknownError
	switch {
	case err == nil:
		l.kept = append(l.kept, k)
	case errors.As(err, &unknown):
		l.lost = append(l.lost, k)
	default:
		l.other = append(l.other, err)
		time.Sleep(time.Millisecond) // a server that is down answers at once
	}
}

func (l *load) answered() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.kept)
}

// more waits until so many more calls have succeeded.
func (l *load) more(n int) {
	l.Helper()
	before := l.answered()
	l.eventually(strconv.Itoa(n)+" more calls have succeeded", func() bool { return l.answered() >= before+n })
}

// end stops the load and holds what was answered against what is there.
func (l *load) end() {
	l.Helper()
	close(l.stop)
	bounded.Wait(l, "the calls are answered", l.done.Wait)
	there := make(map[int64]int)
	rows, err := l.open("pgx", l.dsn).Query("SELECT k, count(*) FROM log GROUP BY k")
	require.NoError(l, err)
	defer rows.Close()
	for rows.Next() {
		var k int64
		var n int
		require.NoError(l, rows.Scan(&k, &n))
		there[k] = n
	}
	require.NoError(l, rows.Err())
	for _, k := range l.kept {
		require.Equal(l, 1, there[k], "row %d was acknowledged", k)
	}
	for _, k := range l.lost {
		require.LessOrEqual(l, there[k], 1, "row %d is of unknown outcome", k)
	}
	for k, n := range there {
		require.Equal(l, 1, n, "row %d", k)
	}
	l.Logf("%d acknowledged, %d unknown, %d refused; of these: %v", len(l.kept), len(l.lost), len(l.other), errors.Join(l.other[:min(3, len(l.other))]...))
}

func TestBackendsThatAreTerminatedUnderLoadLoseNothing(t *testing.T) {
	t.Parallel()
	bothModes(t, func(t *testing.T, mode groupcommit.Option) {
		r := setUp(t, mode)
		l := r.load(32)
		for range 10 {
			l.more(100)
			r.exec(r.plain, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database() AND query NOT LIKE 'SELECT pg_term%'")
		}
		l.more(100)
		l.end()
	})
}

func TestAServerThatIsKilledUnderLoadLosesNothingThatWasAcknowledged(t *testing.T) {
	bothModes(t, func(t *testing.T, mode groupcommit.Option) {
		s := pgtest.New(t, pgtest.Options{})
		r := setUpOn(t, s.DSN(), nil, mode, sideBySide, groupcommit.MaxTime(20*time.Second))
		l := r.load(32)
		for range 3 {
			l.more(300)
			require.NoError(t, s.Stop(pgtest.Immediate))
			require.NoError(t, s.Start())
		}
		l.more(300)
		l.end()
	})
}

func TestAServerThatIsDownIsReportedAsByThePlainDriver(t *testing.T) {
	s := pgtest.New(t, pgtest.Options{})
	r := setUpOn(t, s.DSN(), nil)
	unused := r.open(ours.DriverName, s.DSN())
	r.good(r.together(logs(3)...))
	require.NoError(t, s.Stop(pgtest.Fast))

	plain := r.open("pgx", s.DSN())
	want := plain.Ping()
	require.Error(t, want)
	_, wantExec := plain.Exec("DELETE FROM log")
	require.Error(t, wantExec)
	_, err := r.db.Exec("DELETE FROM log") // the connection has heard why it ended
	require.Error(t, err)
	for name, db := range map[string]*sql.DB{"used before": r.db, "not used before": unused} {
		require.EqualError(t, db.Ping(), want.Error(), name)
		_, err := db.Exec("DELETE FROM log")
		require.EqualError(t, err, wantExec.Error(), name)
		var calls sync.WaitGroup
		for range 50 {
			calls.Go(func() {
				_, err := db.ExecContext(background, "INSERT INTO log (k) VALUES ($1)", 1)
				if err == nil || err.Error() != wantExec.Error() {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		bounded.Wait(t, "the calls are answered", calls.Wait)
	}
	require.Zero(t, r.stats().Queued)
	require.NoError(t, s.Start())
	r.good(r.together(inserts(0, 3)...))
	r.plain = plain
	r.once(3)
	_, err = unused.Exec("DELETE FROM log")
	require.NoError(t, err)
}

func TestACallersContextEndsTheWaitForAServerThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	r, p := proxied(t)
	r.good(r.together(logs(2)...))
	p.Refuse(true)
	p.CutAll()
	ctx, cancel := context.WithTimeout(background, time.Minute)
	defer cancel()
	_, err := r.db.ExecContext(ctx, "INSERT INTO log (k) VALUES (1)")
	require.Error(t, err)
	require.NoError(t, ctx.Err())
	p.Refuse(false)
	r.good(r.together(inserts(0, 2)...))
}
