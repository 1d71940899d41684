package record_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/record"
	"github.com/stretchr/testify/require"
)

// listing is PostgreSQL's dialect as it is before version 14.
type listing struct{ record.Postgres }

func (l listing) Old(at record.Place, age time.Duration) record.Statement {
	at.Version = 0
	return l.Postgres.Old(at, age)
}

// onSweeps runs a test with a sweep of what is older than an hour.
func onSweeps(t *testing.T, test func(t *testing.T, connect func() *sql.DB, s *record.Sweep)) {
	onTheseSweeps(t, test, map[string]record.Dialect{"sqlite3": record.Of(durable.SQLite), "pgx": record.Of(durable.PostgreSQL)})
}

// onAllSweeps is onSweeps, and runs the test with the sweep's other form, too.
func onAllSweeps(t *testing.T, test func(t *testing.T, connect func() *sql.DB, s *record.Sweep)) {
	onSweeps(t, test)
	onTheseSweeps(t, test, map[string]record.Dialect{"pgx before 14": listing{record.Of(durable.PostgreSQL).(record.Postgres)}})
}

func onTheseSweeps(t *testing.T, test func(t *testing.T, connect func() *sql.DB, s *record.Sweep), dialects map[string]record.Dialect) {
	for name, dialect := range dialects {
		t.Run(name, func(t *testing.T) {
			bounded.Test(t)
			driver, dsn := "pgx", ""
			if name == "sqlite3" {
				driver, dsn = name, "file:"+filepath.Join(t.TempDir(), "test.db")+"?_journal=WAL&_sync=OFF"
			} else {
				dsn = pgtest.DSN(t)
			}
			connect := func() *sql.DB {
				db, err := sql.Open(driver, dsn)
				require.NoError(t, err)
				t.Cleanup(func() { bounded.Wait(t, "the database is closed", func() { db.Close() }) })
				return db
			}
			_, err := durable.Prepare(background, connect())
			require.NoError(t, err)
			test(t, connect, &record.Sweep{Dialect: dialect, Age: time.Hour})
		})
	}
}

func onSQLite(s *record.Sweep) bool { _, is := s.Dialect.(record.SQLite); return is }

// fill makes promises "NAME 1" to "NAME n", completed so long ago; not at all if that is negative.
func fill(t *testing.T, db *sql.DB, name string, n int, created, completed time.Duration) {
	t.Helper()
	now := time.Now()
	var end any
	state := 0
	if completed >= 0 {
		end, state = now.Add(-completed).UnixMilli(), 1
	}
	run(t, db, `WITH RECURSIVE k(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM k WHERE n < $1)
		INSERT INTO groupcommit_promises (id, state, create_key, value, created_at, completed_at)
		SELECT CAST($2 AS text) || ' ' || n, $3, $4, $5, $6, $7 FROM k`, n, name, state, make([]byte, 32), []byte(`{"rows":1}`), now.Add(-created).UnixMilli(), end)
}

func run(t *testing.T, db *sql.DB, text string, args ...any) {
	t.Helper()
	_, err := db.Exec(text, args...)
	require.NoError(t, err, text)
}

// left counts the promises that are left, by name, and the version's row under none.
func left(t *testing.T, db *sql.DB) map[string]int {
	t.Helper()
	rows, err := db.Query("SELECT id FROM groupcommit_promises")
	require.NoError(t, err)
	defer rows.Close()
	names := map[string]int{}
	for rows.Next() {
		var id, name string
		require.NoError(t, rows.Scan(&id))
		fmt.Sscan(id, &name)
		names[name]++
	}
	require.NoError(t, rows.Err())
	return names
}

// round has the sweep go to the end of the table, and returns in how many steps.
func round(t *testing.T, db *sql.DB, s *record.Sweep) (steps int) {
	t.Helper()
	for more := true; more || !s.AtStart(); steps++ {
		var err error
		more, err = s.Step(background, db)
		require.NoError(t, err)
	}
	return steps
}

func TestASweepDeletesWhatIsOldAndNothingElse(t *testing.T) {
	onAllSweeps(t, func(t *testing.T, connect func() *sql.DB, s *record.Sweep) {
		db := connect()
		const day = 24 * time.Hour
		fill(t, db, "old", 1500, 2*time.Hour, 2*time.Hour)
		fill(t, db, "pending", 100, day, -1)
		fill(t, db, "late", 100, day, 0) // as of a command that took long
		fill(t, db, "young", 1500, 0, 0)
		fill(t, db, "ahead", 100, -day, 2*time.Hour) // a clock was wrong
		fill(t, db, "ancient", 100, 1e4*day, 1e4*day)
		run(t, db, "UPDATE groupcommit_promises SET completed_at = 1 WHERE id = ''")
		require.Zero(t, s.Pieces(), "it is not known yet")
		steps := round(t, db, s)
		require.Greater(t, steps, 2)
		require.Equal(t, map[string]int{"": 1, "pending": 100, "late": 100, "young": 1500}, left(t, db))
		require.Greater(t, s.Pieces(), 1)
		require.LessOrEqual(t, s.Pieces(), steps)

		run(t, db, "UPDATE groupcommit_promises SET state = 1, completed_at = 1 WHERE id LIKE 'pending %'")
		round(t, db, s)
		require.Equal(t, map[string]int{"": 1, "late": 100, "young": 1500}, left(t, db))
	})
}

// Between the reading of a piece and the deletion others may write, so that something else lies there.
func TestADeletionLooksAtTheAgeItself(t *testing.T) {
	onSweeps(t, func(t *testing.T, connect func() *sql.DB, s *record.Sweep) {
		db := connect()
		fill(t, db, "old", 10, time.Hour, 2*time.Hour)
		fill(t, db, "pending", 10, 2*time.Hour, -1)
		fill(t, db, "young", 10, 2*time.Hour, 0)
		run(t, db, "UPDATE groupcommit_promises SET completed_at = 1 WHERE id = ''")
		var places string
		require.NoError(t, db.QueryRow(map[bool]string{true: "SELECT json_group_array(rowid) FROM groupcommit_promises",
			false: "SELECT array_agg(ctid)::text FROM groupcommit_promises"}[onSQLite(s)]).Scan(&places))
		forget := s.Dialect.Forget(places, s.Age)
		run(t, db, forget.Text, forget.Args...)
		require.Equal(t, map[string]int{"": 1, "pending": 10, "young": 10}, left(t, db))
	})
}

func TestASweepOfNoRows(t *testing.T) {
	onSweeps(t, func(t *testing.T, connect func() *sql.DB, s *record.Sweep) {
		db := connect()
		require.Equal(t, 1, round(t, db, s))
		require.Equal(t, 1, s.Pieces())
		run(t, db, "DELETE FROM groupcommit_promises")
		require.Equal(t, 1, round(t, db, s))
	})
}

// One transaction deletes no more, and the rest of a piece is next.
func TestASweepDeletesAThousandAtMostInAStep(t *testing.T) {
	onSweeps(t, func(t *testing.T, connect func() *sql.DB, s *record.Sweep) {
		db := connect()
		run(t, db, `WITH RECURSIVE k(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM k WHERE n < 1300)
			INSERT INTO groupcommit_promises (id, state, created_at, completed_at) SELECT n, 1, 1, 1 FROM k`) // short rows
		more, err := s.Step(background, db)
		require.NoError(t, err)
		if onSQLite(s) {
			require.Len(t, left(t, db), 302, "a piece is a thousand rows, and the version's is one of them")
		} else {
			require.True(t, more)
			require.Len(t, left(t, db), 301)
		}
		round(t, db, s)
		require.Equal(t, map[string]int{"": 1}, left(t, db))
	})
}

// The rows are fewer than the sweep has passed, and new ones have their places.
func TestASweepThatIsBeyondTheEndBeginsAnew(t *testing.T) {
	onAllSweeps(t, func(t *testing.T, connect func() *sql.DB, s *record.Sweep) {
		db := connect()
		fill(t, db, "young", 4000, 0, 0)
		for range 3 {
			_, err := s.Step(background, db)
			require.NoError(t, err)
		}
		run(t, db, "DELETE FROM groupcommit_promises WHERE id <> ''")
		run(t, db, map[bool]string{true: "VACUUM", false: "VACUUM FULL groupcommit_promises"}[onSQLite(s)])
		fill(t, db, "old", 50, time.Hour, 2*time.Hour)
		require.Equal(t, 1, round(t, db, s))
		require.Equal(t, 50, left(t, db)["old"])
		require.Equal(t, 1, round(t, db, s))
		require.Zero(t, left(t, db)["old"])
	})
}

// Whatever happens between its steps, a sweep deletes what is old and nothing else, and a round that nobody disturbs leaves
// nothing to the statement that looks at every row.
func TestASweepAmongWritersAgreesWithAScan(t *testing.T) {
	onAllSweeps(t, func(t *testing.T, connect func() *sql.DB, s *record.Sweep) {
		db := connect()
		seed := uint64(time.Now().UnixNano())
		t.Log("seed", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		want := map[string]int{"": 1} // all but the old ones
		for i := range 40 {
			name := fmt.Sprint("n", i)
			switch r.IntN(8) {
			case 0, 1:
				fill(t, db, name+"old", r.IntN(600)+1, time.Hour, 2*time.Hour)
			case 2:
				n := r.IntN(600) + 1
				fill(t, db, name, n, time.Hour, 0)
				want[name] = n
			case 3:
				n := r.IntN(300) + 1
				fill(t, db, name, n, 2*time.Hour, -1)
				want[name] = n
			case 4: // completed, and moved on PostgreSQL
				for some := range want {
					if some != "" {
						run(t, db, "UPDATE groupcommit_promises SET state = 1, completed_at = 1, value = $1 WHERE id LIKE $2", make([]byte, r.IntN(200)), some+" %")
						delete(want, some)
						break
					}
				}
			case 5: // holes
				for some := range want {
					if some != "" {
						run(t, db, "DELETE FROM groupcommit_promises WHERE id LIKE $1", some+" %")
						delete(want, some)
						break
					}
				}
			case 6:
				run(t, db, "VACUUM")
			}
			for range r.IntN(3) {
				_, err := s.Step(background, db)
				require.NoError(t, err)
			}
			is := left(t, db)
			for name, n := range want {
				require.Equal(t, n, is[name], name)
			}
		}
		round(t, db, s) // the rest of one
		round(t, db, s)
		n, err := durable.DeleteOlder(background, db, time.Hour, 1000)
		require.NoError(t, err)
		require.Zero(t, n)
		require.Equal(t, want, left(t, db))
	})
}

func TestTwoSweepsAtOnce(t *testing.T) {
	onSweeps(t, func(t *testing.T, connect func() *sql.DB, s *record.Sweep) {
		db := connect()
		fill(t, db, "old", 5000, time.Hour, 2*time.Hour)
		fill(t, db, "young", 10, 0, 0)
		var done sync.WaitGroup
		for range 2 {
			s, db := *s, connect()
			done.Go(func() {
				for more := true; more || !s.AtStart(); {
					var err error
					if more, err = s.Step(background, db); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		bounded.Wait(t, "both rounds are over", done.Wait)
		round(t, db, s) // what each has left to the other
		require.Equal(t, map[string]int{"": 1, "young": 10}, left(t, db))
	})
}

// SQLite has one writer. A sweep that finds nothing does not wait for it; one that finds something comes back to it.
func TestASweepReadsWhileAnotherWrites(t *testing.T) {
	path := "file:" + filepath.Join(t.TempDir(), "test.db")
	for _, journal := range []string{"DELETE", "WAL"} {
		t.Run(journal, func(t *testing.T) {
			db, err := sql.Open("sqlite3", path+journal+"?_busy_timeout=1&_sync=OFF&_txlock=immediate&_journal="+journal)
			require.NoError(t, err)
			defer db.Close()
			require.NoError(t, durable.SQLite.Prepare(background, db))
			fill(t, db, "young", 1100, 0, 0)
			s := &record.Sweep{Dialect: record.Of(durable.SQLite), Age: time.Hour}
			tx, err := db.Begin()
			require.NoError(t, err)
			defer tx.Rollback()
			require.Equal(t, 2, round(t, db, s))
			require.NoError(t, tx.Rollback())

			fill(t, db, "old", 10, time.Hour, 2*time.Hour)
			tx, err = db.Begin()
			require.NoError(t, err)
			defer tx.Rollback()
			_, err = s.Step(background, db)
			require.NoError(t, err)
			for range 2 {
				_, err = s.Step(background, db)
				require.ErrorContains(t, err, "database is locked")
			}
			require.NoError(t, tx.Rollback())
			_, err = s.Step(background, db)
			require.NoError(t, err)
			require.True(t, s.AtStart())
			require.Equal(t, map[string]int{"": 1, "young": 1100}, left(t, db))
		})
	}
}

// Also where a program has made an index on completed_at, as the library did.
func TestAStepOfASweepReadsItsPieceAlone(t *testing.T) {
	onAllSweeps(t, func(t *testing.T, connect func() *sql.DB, s *record.Sweep) {
		db := connect()
		fill(t, db, "old", 8000, time.Hour, 2*time.Hour)
		at := record.Place{From: 32}
		if !onSQLite(s) {
			require.NoError(t, db.QueryRow("SELECT current_setting('server_version_num')::bigint").Scan(&at.Version))
		}
		places := map[bool]string{true: "[]", false: "{}"}[onSQLite(s)]
		for _, index := range []string{"", "CREATE INDEX groupcommit_promises_completed ON groupcommit_promises (completed_at) WHERE completed_at IS NOT NULL"} {
			if index != "" {
				run(t, db, index)
			}
			run(t, db, "ANALYZE")
			p := &planned{DB: db, explain: map[bool]string{true: "EXPLAIN QUERY PLAN ", false: "EXPLAIN "}[onSQLite(s)]}
			for _, statement := range []record.Statement{s.Dialect.Old(at, time.Hour), s.Dialect.Forget(places, time.Hour)} {
				_, err := p.ExecContext(background, statement.Text, statement.Args...)
				require.ErrorIs(t, err, errPlanned)
			}
			for _, plan := range p.plans {
				if onSQLite(s) {
					require.Contains(t, plan, "USING INTEGER PRIMARY KEY (rowid")
					require.NotContains(t, plan, "SCAN groupcommit_promises")
				} else {
					require.Regexp(t, "Tid (Range )?Scan on groupcommit_promises", plan)
					require.NotContains(t, plan, "Seq Scan")
					if _, is := s.Dialect.(listing); is {
						require.NotContains(t, plan, "Range")
					}
				}
			}
			require.Len(t, p.plans, 2)
		}
	})
}

// Whoever makes the table may divide it.
func TestASweepOfPartitions(t *testing.T) {
	onSweeps(t, func(t *testing.T, connect func() *sql.DB, s *record.Sweep) {
		if onSQLite(s) {
			t.Skip("SQLite has none")
		}
		db := connect()
		run(t, db, "ALTER TABLE groupcommit_promises RENAME TO model")
		run(t, db, "CREATE TABLE groupcommit_promises (LIKE model INCLUDING DEFAULTS, PRIMARY KEY (id)) PARTITION BY HASH (id)")
		for i := range 3 {
			run(t, db, fmt.Sprintf("CREATE TABLE part%d PARTITION OF groupcommit_promises FOR VALUES WITH (MODULUS 3, REMAINDER %d)", i, i))
		}
		require.NoError(t, durable.PostgreSQL.Prepare(background, db))
		fill(t, db, "young", 3000, 0, 0)
		fill(t, db, "old", 3000, time.Hour, 2*time.Hour)
		require.Greater(t, round(t, db, s), 2)
		require.Zero(t, left(t, db)["old"])
		require.Equal(t, 3000, left(t, db)["young"])
	})
}
