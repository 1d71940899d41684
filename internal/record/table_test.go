package record_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/record"
	"github.com/groupcommit/groupcommit/pgx"
	"github.com/groupcommit/groupcommit/sqlite3"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

var (
	background = context.Background()
	noon       = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// onDatabases runs a test on each kind of database, plain and grouped, with the table made.
func onDatabases(t *testing.T, test func(t *testing.T, db *sql.DB, table *record.Table)) {
	for _, name := range []string{"sqlite3", sqlite3.DriverName, "pgx", pgx.DriverName} {
		t.Run(name, func(t *testing.T) {
			dsn := "file:" + filepath.Join(t.TempDir(), "test.db") + "?_journal=WAL&_sync=OFF"
			if name == "pgx" || name == pgx.DriverName {
				dsn = pgtest.DSN(t)
			}
			db, err := sql.Open(name, dsn)
			require.NoError(t, err)
			bounded.Test(t)
			t.Cleanup(func() { bounded.Wait(t, "the database is closed", func() { db.Close() }) })
			d, err := durable.Prepare(background, db)
			require.NoError(t, err)
			test(t, db, &record.Table{Dialect: record.Of(d), Kind: "greet", Expected: []byte("{}")})
		})
	}
}

func isPostgres(table *record.Table) bool {
	_, is := table.Dialect.(record.Postgres)
	return is
}

// rows are n commands, and one whose id is a hard one.
func rows(n int) (rows []record.Row) {
	for i := range n {
		rows = append(rows, record.Row{ID: fmt.Sprintf("id-%04d", (i*7)%n), Key: durable.Key(fmt.Sprint("key", i)), State: durable.Resolved, Value: []byte("{}")})
	}
	return append(rows, record.Row{ID: `{"\',ä<&>`, Key: "\x00\xff", State: durable.Rejected, Value: []byte("\x00no")})
}

// within runs f in a transaction that is committed.
func within(t *testing.T, db *sql.DB, f func(tx *sql.Tx)) {
	t.Helper()
	tx, err := db.Begin()
	require.NoError(t, err)
	defer tx.Rollback()
	f(tx)
	require.NoError(t, tx.Commit())
}

func store(t *testing.T, db *sql.DB, table *record.Table, rows []record.Row) {
	t.Helper()
	within(t, db, func(tx *sql.Tx) {
		found, err := table.Claim(background, tx, rows)
		require.NoError(t, err)
		require.Empty(t, found)
		require.NoError(t, table.Record(background, tx, rows, noon))
	})
}

func TestWhatIsRecordedIsFoundByTheNextClaim(t *testing.T) {
	onDatabases(t, func(t *testing.T, db *sql.DB, table *record.Table) {
		first := rows(150)
		first[3].Value = []byte(`"something else"`)
		store(t, db, table, first)
		again := append(rows(150), record.Row{ID: "new", Key: "n", State: durable.Resolved})
		within(t, db, func(tx *sql.Tx) {
			found, err := table.Claim(background, tx, again)
			require.NoError(t, err)
			require.Len(t, found, len(first))
			for _, r := range first {
				f := found[r.ID]
				require.Equal(t, []any{r.Key, r.State, string(r.Value)}, []any{f.Key, f.State, string(f.Value)}, r.ID)
			}
			require.NoError(t, table.Record(background, tx, again[len(again)-1:], noon))
		})
		var n, done int
		require.NoError(t, db.QueryRow("SELECT count(*), count(completed_at) FROM groupcommit_promises WHERE kind = 'greet'").Scan(&n, &done))
		require.Equal(t, []int{152, 152}, []int{n, done})
	})
}

// A handler that takes longer than the retention would be forgotten at once if the age of a promise was that of its claim.
func TestWhatIsRecordedIsAsOldAsItsCompletion(t *testing.T) {
	onDatabases(t, func(t *testing.T, db *sql.DB, table *record.Table) {
		clock := "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)"
		if isPostgres(table) {
			clock = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
		}
		all := rows(3)
		all[1].Value = []byte("another")
		pending(t, db, table, "", record.Row{ID: "pending", Created: noon})
		claimed := time.Now()
		var before int64
		within(t, db, func(tx *sql.Tx) {
			_, err := table.Claim(background, tx, all)
			require.NoError(t, err)
			time.Sleep(600 * time.Millisecond) // the handler
			require.NoError(t, db.QueryRow(clock).Scan(&before))
			require.NoError(t, table.Record(background, tx, all, claimed))
			_, err = table.Settle(background, tx, []record.Row{{ID: "pending", State: durable.Resolved}})
			require.NoError(t, err)
		})
		var n, late int
		require.NoError(t, db.QueryRow("SELECT count(*), sum(CASE WHEN completed_at >= $1 THEN 1 ELSE 0 END) FROM groupcommit_promises WHERE id <> ''", before-1).Scan(&n, &late))
		require.Equal(t, []int{5, 5}, []int{n, late})
	})
}

// How large a value may be is a limit of the connection's in SQLite, and lowered here.
func TestResultsThatFitOneByOneFitTogether(t *testing.T) {
	name := "sqlite3-of-5-MB"
	sql.Register(name, &mattn.SQLiteDriver{ConnectHook: func(c *mattn.SQLiteConn) error {
		c.SetLimit(mattn.SQLITE_LIMIT_LENGTH, 5_000_000)
		return nil
	}})
	db, err := sql.Open(name, "file:"+filepath.Join(t.TempDir(), "test.db"))
	require.NoError(t, err)
	defer db.Close()
	_, err = durable.Prepare(background, db)
	require.NoError(t, err)
	var all []record.Row
	for i := range 30 {
		all = append(all, record.Row{ID: fmt.Sprint(i), Key: "key", State: durable.Resolved, Value: bytes.Repeat([]byte{byte(i)}, 400_000)})
	}
	all = append(all, record.Row{ID: "large", State: durable.Resolved, Value: bytes.Repeat([]byte{1}, 4_900_000)})
	table := &record.Table{Dialect: record.Of(durable.SQLite), Kind: "greet"}
	store(t, db, table, all)
	found, err := table.Read(background, db, []string{"0", "17", "29", "large"})
	require.NoError(t, err)
	for id, r := range found {
		if id == "large" {
			require.Len(t, r.Value, 4_900_000)
		} else {
			require.Equal(t, id, fmt.Sprint(r.Value[0]))
			require.Len(t, r.Value, 400_000)
		}
	}
	require.Len(t, found, 4)
}

func TestAnOutcomeOfManyPiecesIsComplete(t *testing.T) {
	onDatabases(t, func(t *testing.T, db *sql.DB, table *record.Table) {
		all := rows(13)
		for i := range all {
			all[i].Value = bytes.Repeat([]byte{byte(i)}, 1<<20)
		}
		store(t, db, table, all[:7])
		for _, r := range all[7:] {
			r.Created = noon
			pending(t, db, table, "", r)
		}
		n, err := table.Settle(background, db, all[5:])
		require.NoError(t, err)
		require.EqualValues(t, len(all)-7, n, "those that were pending")
		var is int
		require.NoError(t, db.QueryRow("SELECT count(*) FROM groupcommit_promises WHERE length(value) = 1048576 AND state > 0").Scan(&is))
		require.Equal(t, len(all), is)
	})
}

func TestAnOutcomeThatTheTableDoesNotTakeIsAnError(t *testing.T) {
	onDatabases(t, func(t *testing.T, db *sql.DB, table *record.Table) {
		lost := rows(0)
		tx, err := db.Begin()
		require.NoError(t, err)
		defer tx.Rollback()
		_, err = table.Claim(background, tx, lost)
		require.NoError(t, err)
		if isPostgres(table) { // somebody deletes the claim
			_, err = tx.Exec("DELETE FROM groupcommit_promises")
		} else {
			_, err = tx.Exec("CREATE TRIGGER deaf BEFORE INSERT ON groupcommit_promises BEGIN SELECT RAISE(IGNORE); END")
		}
		require.NoError(t, err)
		require.ErrorContains(t, table.Record(background, tx, lost, noon), "1 commands could not be recorded: groupcommit_promises has taken 0")
	})
}

// pending records commands of which nobody has a lease, unless owner is given: until a minute past noon.
func pending(t *testing.T, db *sql.DB, table *record.Table, owner string, rows ...record.Row) {
	t.Helper()
	for _, r := range rows {
		text, args := table.Pending(r, owner, noon.Add(time.Minute))
		res, err := db.Exec(text, args...)
		require.NoError(t, err)
		n, err := res.RowsAffected()
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
		res, err = db.Exec(text, args...)
		require.NoError(t, err)
		n, err = res.RowsAffected()
		require.NoError(t, err)
		require.Zero(t, n, "the id is taken")
	}
}

// planned is a database that keeps the plan of each statement and does not run it.
type planned struct {
	*sql.DB
	explain string
	plans   []string
}

func (p *planned) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	rows, err := p.DB.QueryContext(ctx, p.explain+query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		columns, err := rows.Columns()
		if err != nil {
			return nil, err
		}
		line := make([]sql.RawBytes, len(columns))
		into := make([]any, len(columns))
		for i := range line {
			into[i] = &line[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		fmt.Fprintf(&plan, "%s\n", line[len(line)-1])
	}
	p.plans = append(p.plans, plan.String())
	return nil, errors.Join(errPlanned, rows.Err())
}

func (p *planned) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	_, err := p.QueryContext(ctx, query, args...)
	return nil, err
}

var errPlanned = errors.New("it was planned")

// Whatever else is pending, of other kinds.
func TestPendingCommandsAreFoundByTheirKind(t *testing.T) {
	onDatabases(t, func(t *testing.T, db *sql.DB, table *record.Table) {
		p := &planned{DB: db, explain: "EXPLAIN QUERY PLAN "}
		if isPostgres(table) {
			p.explain = "EXPLAIN "
		}
		_, err := db.Exec(`WITH RECURSIVE k(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM k WHERE n < 5000)
			INSERT INTO groupcommit_promises (id, state, kind, created_at) SELECT 'id ' || n, 0, 'other ' || (n % 10), n FROM k`)
		require.NoError(t, err)
		_, err = db.Exec("ANALYZE")
		require.NoError(t, err)
		_, err = table.Look(background, p, noon)
		require.ErrorIs(t, err, errPlanned)
		_, err = table.Waiting(background, p, noon, 1)
		require.ErrorIs(t, err, errPlanned)
		_, err = table.Take(background, p, "me", noon, noon, 100)
		require.ErrorIs(t, err, errPlanned)
		require.ErrorIs(t, table.Expire(background, p, noon), errPlanned)
		require.ErrorIs(t, table.Release(background, p, "me"), errPlanned)
		for _, plan := range p.plans {
			require.NotContains(t, plan, "Seq Scan")
			if isPostgres(table) {
				require.Regexp(t, `groupcommit_promises_pending.*(\n.*)?Index Cond: \(\(?kind = `, plan)
			} else {
				require.Contains(t, plan, "groupcommit_promises_pending (kind=?")
			}
			require.NotContains(t, plan, "Sort")
			require.NotContains(t, plan, "TEMP B-TREE FOR ORDER BY")
		}
		require.Len(t, p.plans, 5)
	})
}

func TestLookSaysWhatIsDue(t *testing.T) {
	onDatabases(t, func(t *testing.T, db *sql.DB, table *record.Table) {
		look := func(want record.Due, after time.Duration) {
			t.Helper()
			due, err := table.Look(background, db, noon.Add(after))
			require.NoError(t, err)
			require.Equal(t, want, due)
		}
		another := &record.Table{Dialect: table.Dialect, Kind: "part"}
		pending(t, db, another, "", record.Row{ID: "0", Created: noon, Timeout: noon})
		look(record.Due{}, 0)
		pending(t, db, table, "me", record.Row{ID: "mine", Created: noon, Timeout: noon.Add(time.Hour)})
		look(record.Due{Pending: true}, time.Second)
		look(record.Due{Pending: true, Free: true}, time.Minute)
		look(record.Due{Pending: true, Late: true}, time.Hour)
		pending(t, db, table, "", record.Row{ID: "free", Created: noon})
		look(record.Due{Pending: true, Free: true}, time.Second)
		look(record.Due{Pending: true, Free: true, Late: true}, time.Hour)
	})
}

func TestPendingCommandsAreTakenInTheOrderOfTheirCreationByOneOwnerAtATime(t *testing.T) {
	onDatabases(t, func(t *testing.T, db *sql.DB, table *record.Table) {
		pending(t, db, table, "", record.Row{ID: "c", Key: "kc", Param: []byte("pc"), Created: noon},
			record.Row{ID: "b", Created: noon.Add(2 * time.Second)}, record.Row{ID: "a", Created: noon.Add(time.Second)},
			record.Row{ID: "late", Created: noon, Timeout: noon.Add(time.Second)})
		pending(t, db, table, "other", record.Row{ID: "theirs", Created: noon})
		another := &record.Table{Dialect: table.Dialect, Kind: "part"}
		pending(t, db, another, "", record.Row{ID: "0", Created: noon})

		now := noon.Add(3 * time.Second)
		taken, err := table.Take(background, db, "me", now, now.Add(time.Minute), 2)
		require.NoError(t, err)
		require.Len(t, taken, 2)
		require.Equal(t, record.Row{ID: "c", Kind: "greet", Key: "kc", Param: []byte("pc"), Owner: "me", Created: noon.Local()}, taken[0])
		require.Equal(t, "a", taken[1].ID)
		taken, err = table.Take(background, db, "me", now, now.Add(time.Minute), 2)
		require.NoError(t, err)
		require.Len(t, taken, 1)
		taken, err = table.Take(background, db, "you", now, now.Add(time.Minute), 9)
		require.NoError(t, err)
		require.Empty(t, taken)

		require.NoError(t, table.Renew(background, db, []string{"c", "a", "b", "theirs"}, "me", now.Add(2*time.Minute)))
		taken, err = table.Take(background, db, "you", now.Add(90*time.Second), now.Add(time.Hour), 9)
		require.NoError(t, err)
		require.Len(t, taken, 1, "what the other one had for a minute")

		ids := []string{"a", "b", "c", "theirs", "late", "0", "none"}
		within(t, db, func(tx *sql.Tx) {
			held, err := table.Hold(background, tx, ids, "me", now.Add(90*time.Second))
			require.NoError(t, err)
			require.Equal(t, map[string]durable.Key{"a": "", "b": "", "c": "kc"}, held)
			n, err := table.Settle(background, tx, []record.Row{{ID: "a", State: durable.Resolved, Value: []byte("1")}, {ID: "b", State: durable.Rejected}, {ID: "none"}})
			require.NoError(t, err)
			require.EqualValues(t, 2, n)
		})
		n, err := table.Settle(background, db, []record.Row{{ID: "a", State: durable.Rejected}})
		require.NoError(t, err)
		require.Zero(t, n, "it is settled")

		require.NoError(t, table.Expire(background, db, now))
		found, err := table.Read(background, db, ids)
		require.NoError(t, err)
		states := map[string]durable.State{}
		for id, r := range found {
			states[id] = r.State
		}
		require.Equal(t, map[string]durable.State{"a": durable.Resolved, "b": durable.Rejected, "c": durable.Pending,
			"theirs": durable.Pending, "late": durable.RejectedTimedout, "0": durable.Pending}, states)
		require.Equal(t, "1", string(found["a"].Value))

		require.NoError(t, table.Shelve(background, db, []string{"c"}, now.Add(time.Minute)))
		found, err = table.Read(background, db, ids)
		require.NoError(t, err)
		require.Empty(t, found["c"].Owner)
		taken, err = table.Take(background, db, "you", now, now.Add(time.Minute), 9)
		require.NoError(t, err)
		require.Empty(t, taken, "it is for later")
		taken, err = table.Take(background, db, "me", now.Add(time.Minute), now.Add(time.Hour), 1)
		require.NoError(t, err)
		require.Len(t, taken, 1)
		require.NoError(t, table.Release(background, db, "me"))
		taken, err = table.Take(background, db, "you", now, now.Add(time.Minute), 9)
		require.NoError(t, err)
		require.Len(t, taken, 1)
		require.Equal(t, "c", taken[0].ID)
		waiting, err := table.Waiting(background, db, noon, 9)
		require.NoError(t, err)
		require.ElementsMatch(t, []string{"c", "theirs"}, waiting)
	})
}
