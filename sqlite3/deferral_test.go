package sqlite3_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/syncer"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A log is the write-ahead log of a test's database, whose syncs the test sees.
type log struct {
	syncs  atomic.Int64
	fails  atomic.Bool
	during atomic.Pointer[func()] // each sync
	strays atomic.Int64           // syncs of a file that SQLite does not have open
}

func (l *log) onSync(f func()) { l.during.Store(&f) }

// crowd has callers write beside each other until they have shared a sync. The next ones do so, too.
func (l *log) crowd(t testing.TB, db *sql.DB) {
	t.Helper()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for l.syncs.Load() == 0 {
				assert.NoError(t, insert(db, 0))
			}
		})
	}
	bounded.Wait(t, "a sync is shared", all.Wait)
}

var logs sync.Map // of *log, by the path of the file

func init() {
	real := syncer.Fdatasync
	syncer.Fdatasync = func(f *os.File) error {
		if l, ok := logs.Load(f.Name()); ok {
			l := l.(*log)
			l.syncs.Add(1)
			if !openElsewhere(f) {
				l.strays.Add(1)
			}
			if f := l.during.Load(); f != nil {
				(*f)()
			}
			if l.fails.Load() {
				return syscall.EIO
			}
		}
		return real(f)
	}
}

// openElsewhere reports that this process has a file open by another descriptor, too.
func openElsewhere(f *os.File) bool {
	info, err := f.Stat()
	if err != nil {
		return false
	}
	open, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range open {
		other, err := os.Stat("/proc/self/fd/" + fd.Name())
		if err == nil && os.SameFile(info, other) && fd.Name() != strconv.Itoa(int(f.Fd())) {
			return true
		}
	}
	return false
}

// fullDSN is the name of a new database whose commits are durable.
func fullDSN(t testing.TB, params string) string {
	own := "_sync=FULL"
	if strings.Contains(params, "&_sync=") {
		own = "_foreign_keys=0" // instead
	}
	return strings.Replace(dsnOf(t, "&_txlock=immediate"+params), "_sync=OFF", own, 1)
}

// durables opens a database whose commits are durable, and its log.
func durables(t testing.TB, params string) (*sql.DB, *log, string) {
	t.Helper()
	dsn := fullDSN(t, params)
	db := ours(t, dsn, "CREATE TABLE t (k INTEGER PRIMARY KEY, v)")
	l := &log{}
	path := strings.TrimPrefix(fileOf(t, db), "file:") + "-wal"
	logs.Store(path, l)
	t.Cleanup(func() { logs.Delete(path) })
	return db, l, dsn
}

func insert(db *sql.DB, v int) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.Exec("INSERT INTO t (v) VALUES (?)", v); err != nil {
		return err
	}
	return tx.Commit()
}

// Each road that commits: what it does, and how many rows that makes.
var durableRoads = map[string]func(db *sql.DB, v int) error{
	"a transaction": insert,
	"a prepared statement of a transaction": func(db *sql.DB, v int) error {
		tx, err := db.Begin()
		if err != nil {
			return err
		}
		defer tx.Rollback()
		st, err := tx.Prepare("INSERT INTO t (v) VALUES (?)")
		if err != nil {
			return err
		}
		if _, err := st.Exec(v); err != nil {
			return err
		}
		return tx.Commit()
	},
	"a text of several statements": func(db *sql.DB, v int) error {
		_, err := db.Exec(fmt.Sprintf("BEGIN; INSERT INTO t (v) VALUES (%d); COMMIT", v))
		return err
	},
	"RETURNING, read to its end": func(db *sql.DB, v int) error {
		rows, err := db.Query("INSERT INTO t (v) VALUES (?) RETURNING k", v)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
		}
		return rows.Err()
	},
	"RETURNING, one row": func(db *sql.DB, v int) error {
		var k int
		return db.QueryRow("INSERT INTO t (v) VALUES (?) RETURNING k", v).Scan(&k)
	},
	"a statement that joins no group": func(db *sql.DB, v int) error {
		_, err := db.ExecContext(groupcommit.NoBatch(background), "INSERT INTO t (v) VALUES (?)", v)
		return err
	},
	"an Exec": func(db *sql.DB, v int) error { _, err := db.Exec("INSERT INTO t (v) VALUES (?)", v); return err },
	"a promise": func(db *sql.DB, v int) error {
		_, err := groupcommit.Go(background, db, "INSERT INTO t (v) VALUES (?)", v).Await(background)
		return err
	},
}

// While a sync is under way the turn goes on, and others see what is committed. Its caller has no answer before a sync that began
// after its commit.
func TestNoCallerHasItsAnswerBeforeASyncThatBeganAfterItsCommit(t *testing.T) {
	for name, road := range durableRoads {
		t.Run(name, func(t *testing.T) {
			db, l, dsn := durables(t, "")
			reader := openDB(t, "sqlite3", dsn)
			rows := func() (n int) {
				require.NoError(t, reader.QueryRow("SELECT count(*) FROM t WHERE v < 0").Scan(&n))
				return n
			}
			l.crowd(t, db)
			began, release := make(chan struct{}, 2), make(chan struct{})
			l.onSync(func() { began <- struct{}{}; <-release })
			answers := make(chan error, 2)
			for i, other := range []func(*sql.DB, int) error{road, insert} {
				go func() { answers <- other(db, -1-i) }()
				if i == 0 {
					bounded.Wait(t, "the first one's sync begins", func() { <-began })
				}
				bounded.Until(t, "it can be seen", func() bool { return rows() == i+1 })
			}
			require.Empty(t, answers, "before the sync is over")
			release <- struct{}{}
			bounded.Wait(t, "the second one's sync begins", func() { <-began })
			require.LessOrEqual(t, len(answers), 1, "the second one's sync is not over")
			close(release)
			for range 2 {
				bounded.Wait(t, "an answer", func() { require.NoError(t, <-answers) })
			}
		})
	}
}

// After a sync that has failed no caller is told of a success until all that is in the log is durable in another way.
func TestAfterASyncThatFailedTheNextWriterMakesAllDurable(t *testing.T) {
	db, l, dsn := durables(t, "")
	other := openDB(t, "sqlite3", dsn)
	var unknown, failed, succeeded atomic.Int64
	l.onSync(func() { l.fails.Store(l.syncs.Load() == 3) })
	var all sync.WaitGroup
	for g := range 16 {
		all.Go(func() {
			for i := range 20 {
				err := insert(db, g*1000+i)
				var u *groupcommit.OutcomeUnknownError
				switch {
				case err == nil:
					succeeded.Add(1)
				case errors.As(err, &u):
					unknown.Add(1)
					var e mattn.Error
					if assert.ErrorAs(t, u.Cause, &e) {
						assert.Equal(t, mattn.ErrIoErrFsync, e.ExtendedCode)
					}
				default:
					failed.Add(1)
				}
			}
		})
	}
	all.Wait()
	require.Positive(t, unknown.Load())
	var rows int64
	require.NoError(t, other.QueryRow("SELECT count(*) FROM t").Scan(&rows))
	require.Equal(t, succeeded.Load()+unknown.Load(), rows, "what has failed must not be there")
	require.NoError(t, insert(db, 1), "the database is well again")
}

// PRAGMA synchronous answers what it answers on the plain driver, whatever else is done.
func TestTheLevelIsThePrograms(t *testing.T) {
	db, _, _ := durables(t, "")
	stop := make(chan struct{})
	var all sync.WaitGroup
	for _, road := range durableRoads {
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					assert.NoError(t, road(db, i))
				}
			}
		})
	}
	queries := []string{"PRAGMA synchronous", "PRAGMA main.Synchronous /* ? */", "SELECT synchronous FROM pragma_synchronous"}
	for i := range 300 {
		var level int
		require.NoError(t, db.QueryRow(queries[i%3]).Scan(&level))
		require.Equal(t, 2, level)
		tx, err := db.Begin()
		require.NoError(t, err)
		if i%2 == 0 {
			_, err := tx.Exec("INSERT INTO t (v) VALUES (0)")
			require.NoError(t, err)
		}
		require.NoError(t, tx.QueryRow(queries[i%3]).Scan(&level))
		require.Equal(t, 2, level, "in a transaction")
		st, err := tx.Prepare(queries[i%3])
		require.NoError(t, err)
		require.NoError(t, st.QueryRow().Scan(&level))
		require.Equal(t, 2, level, "in a transaction, prepared")
		require.NoError(t, tx.Commit())
	}
	close(stop)
	all.Wait()
}

// A statement that has ended its transaction leaves no connection below its level: the next one commits by itself.
func TestAStatementBehindTheEndOfItsTransactionIsSyncedByItself(t *testing.T) {
	db, _, _ := durables(t, "")
	exec(t, db, "CREATE TABLE u (k INTEGER PRIMARY KEY ON CONFLICT ROLLBACK)")
	exec(t, db, "INSERT INTO u VALUES (1)")
	for range 20 { // beside others
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				tx, err := db.Begin()
				if !assert.NoError(t, err) {
					return
				}
				defer tx.Rollback()
				_, err = tx.Exec("INSERT INTO u VALUES (1)")
				assert.Error(t, err)
				var level int
				assert.NoError(t, tx.QueryRow("PRAGMA synchronous").Scan(&level))
				assert.Equal(t, 2, level)
			})
		}
		all.Wait()
	}
}

// A caller that writes alone commits as on the plain driver.
func TestACallerThatWritesAloneSharesNoSync(t *testing.T) {
	db, l, _ := durables(t, "")
	for _, road := range durableRoads {
		for i := range 3 {
			require.NoError(t, road(db, i))
		}
	}
	require.Zero(t, l.syncs.Load())
}
