package sqlite3_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/bounded"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const insertRow = "INSERT INTO a (k, v) VALUES (?, ?)"

// promising is a database with a ledger; more is what its data source name has besides.
func promising(t testing.TB, more string) (db *sql.DB, dsn string) {
	dsn = dsnOf(t, more)
	return ours(t, dsn+"&groupcommit_promises=on", "CREATE TABLE a (k INTEGER UNIQUE, v TEXT)"), dsn
}

// querier is a *sql.DB or a *sql.Conn.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func withID(id string) context.Context { return groupcommit.WithID(background, id) }

func count(t testing.TB, db querier, query string, args ...any) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(background, query, args...).Scan(&n))
	return n
}

// rowsOf requires a result to say so many rows, that last insert id, and whether it is a replay.
func rowsOf(t testing.TB, res sql.Result, rows, id int64, replay bool) {
	t.Helper()
	n, err := res.RowsAffected()
	require.NoError(t, err)
	last, err := res.LastInsertId()
	require.NoError(t, err)
	require.Equal(t, []any{rows, id, replay}, []any{n, last, groupcommit.Deduplicated(res)})
}

// groups runs a story on lone calls and on calls in a group with others.
func groups(t *testing.T, story func(t *testing.T, db *sql.DB, exec func(id, query string, args ...any) (sql.Result, error))) {
	t.Run("alone", func(t *testing.T) {
		db, dsn := promising(t, "")
		story(t, db, func(id, query string, args ...any) (sql.Result, error) {
			return ours(t, dsn+"&groupcommit_promises=on").ExecContext(withID(id), query, args...)
		})
	})
	t.Run("from memory", func(t *testing.T) {
		db, _ := promising(t, "")
		story(t, db, func(id, query string, args ...any) (sql.Result, error) {
			return db.ExecContext(withID(id), query, args...)
		})
	})
	t.Run("in a group", func(t *testing.T) {
		look, dsn := promising(t, "")
		exec(t, look, "CREATE TABLE neighbours (n)")
		asked := 0
		story(t, look, func(id, query string, args ...any) (sql.Result, error) {
			db := ours(t, dsn+"&groupcommit_promises=on") // that remembers nothing
			release := hold(t, db)
			before := groupcommit.Go(background, db, "INSERT INTO neighbours VALUES (1)")
			p := groupcommit.Go(withID(id), db, query, args...)
			after := groupcommit.Go(withID(fmt.Sprintf("neighbour %d", asked)), db, "INSERT INTO neighbours VALUES (2)")
			asked++
			awaitQueued(t, db, 3)
			release()
			for _, neighbour := range []*groupcommit.Promise{before, after} {
				_, err := neighbour.Await(background)
				require.NoError(t, err)
			}
			assert.Equal(t, 2*asked, count(t, db, "SELECT count(*) FROM neighbours"))
			require.Equal(t, id, p.ID())
			return p.Await(background)
		})
	})
}

func TestACallWithAnIDTakesEffectOnceAndIsAnsweredAlike(t *testing.T) {
	groups(t, func(t *testing.T, db *sql.DB, exec func(string, string, ...any) (sql.Result, error)) {
		for i := range 3 {
			res, err := exec("order-1", insertRow, 7, "seven")
			require.NoError(t, err)
			rowsOf(t, res, 1, 1, i > 0)
		}
		require.Equal(t, 1, count(t, db, "SELECT count(*) FROM a"))
		res, err := exec("nobody", "UPDATE a SET v = '' WHERE k = ?", 99)
		require.NoError(t, err)
		n, _ := res.RowsAffected()
		require.Zero(t, n)
		require.False(t, groupcommit.Deduplicated(res))
		_, err = db.Exec(insertRow, 99, "now there")
		require.NoError(t, err)
		res, err = exec("nobody", "UPDATE a SET v = '' WHERE k = ?", 99)
		require.NoError(t, err)
		n, _ = res.RowsAffected()
		require.Zero(t, n)
		require.True(t, groupcommit.Deduplicated(res))
	})
}

func TestAnIDBelongsToOneStatementAndItsArguments(t *testing.T) {
	groups(t, func(t *testing.T, db *sql.DB, exec func(string, string, ...any) (sql.Result, error)) {
		_, err := exec("order-1", insertRow, 7, "seven")
		require.NoError(t, err)
		for _, other := range []call{
			{query: insertRow, args: []any{7, "eight"}},
			{query: insertRow, args: []any{"7", "seven"}},
			{query: insertRow + " ", args: []any{7, "seven"}},
		} {
			_, err = exec("order-1", other.query, other.args...)
			require.ErrorIs(t, err, groupcommit.ErrMismatch)
			require.ErrorContains(t, err, "order-1")
		}
		require.Equal(t, 1, count(t, db, "SELECT count(*) FROM a"))
	})
}

func TestAnIDMayHaveAnyCharacters(t *testing.T) {
	groups(t, func(t *testing.T, db *sql.DB, exec func(string, string, ...any) (sql.Result, error)) {
		for i, id := range []string{`"`, `\`, `\"\u0041/`, "\x01\t\n\x1f\x7f", "é\u2028\U0001F642", `["a","b"]`, "null", " ", strings.Repeat("\x02", 255)} {
			for again := range 2 {
				res, err := exec(id, insertRow, i, "v")
				require.NoError(t, err, "%q", id)
				rowsOf(t, res, 1, int64(i+1), again == 1)
			}
			require.Equal(t, 1, count(t, db, "SELECT count(*) FROM groupcommit_promises WHERE id = ?", id), "%q", id)
		}
	})
}

func TestAnErrorThatWouldComeAgainIsRecorded(t *testing.T) {
	groups(t, func(t *testing.T, db *sql.DB, exec func(string, string, ...any) (sql.Result, error)) {
		_, err := db.Exec(insertRow, 7, "the first")
		require.NoError(t, err)
		_, err = exec("taken", insertRow, 7, "the second")
		require.Equal(t, mattn.ErrConstraint, code(t, err))
		_, want := db.Exec("DELETE FROM a")
		require.NoError(t, want)
		for range 2 {
			_, again := exec("taken", insertRow, 7, "the second")
			var rejected *groupcommit.RejectedError
			require.ErrorAs(t, again, &rejected)
			require.Equal(t, groupcommit.RejectedError{ID: "taken", State: durable.Rejected, Code: "2067", Message: err.Error()}, *rejected)
		}
		require.Zero(t, count(t, db, "SELECT count(*) FROM a"))
		p, err := groupcommit.Lookup(background, db, "taken")
		require.NoError(t, err)
		require.Equal(t, durable.Rejected, p.State)
	})
}

func TestAnErrorThatMayGoAwayIsNotRecorded(t *testing.T) {
	groups(t, func(t *testing.T, db *sql.DB, exec func(string, string, ...any) (sql.Result, error)) {
		_, err := exec("early", "INSERT INTO later VALUES (?)", 1)
		require.ErrorContains(t, err, "no such table")
		_, err = groupcommit.Lookup(background, db, "early")
		require.ErrorIs(t, err, durable.ErrNotFound)
		_, err = db.Exec("CREATE TABLE later (x)")
		require.NoError(t, err)
		res, err := exec("early", "INSERT INTO later VALUES (?)", 1)
		require.NoError(t, err)
		rowsOf(t, res, 1, 1, false)
	})
}

func TestAnErrorThatEndsTheTransactionIsRecordedByItself(t *testing.T) {
	groups(t, func(t *testing.T, db *sql.DB, exec func(string, string, ...any) (sql.Result, error)) {
		for _, q := range []string{
			"CREATE TABLE guarded (x)",
			"CREATE TRIGGER guard BEFORE INSERT ON guarded BEGIN SELECT RAISE(ROLLBACK, 'not today'); END",
		} {
			_, err := db.Exec(q)
			require.NoError(t, err)
		}
		_, err := exec("never", "INSERT INTO guarded VALUES (?)", 1)
		require.ErrorContains(t, err, "not today")
		require.IsType(t, mattn.Error{}, err)
		_, err = db.Exec("DROP TRIGGER guard")
		require.NoError(t, err)
		_, err = exec("never", "INSERT INTO guarded VALUES (?)", 1)
		var rejected *groupcommit.RejectedError
		require.ErrorAs(t, err, &rejected)
		require.Zero(t, count(t, db, "SELECT count(*) FROM guarded"))
	})
}

func TestACommitThatAConstraintRefusesIsRecorded(t *testing.T) {
	dsn := dsnOf(t, "&_foreign_keys=on")
	db := ours(t, dsn+"&groupcommit_promises=on", "CREATE TABLE p (k INTEGER PRIMARY KEY)",
		"CREATE TABLE c (k REFERENCES p DEFERRABLE INITIALLY DEFERRED)")
	_, err := db.ExecContext(withID("orphan"), "INSERT INTO c VALUES (?)", 5)
	require.Equal(t, mattn.ErrConstraint, code(t, err))
	exec(t, db, "INSERT INTO p VALUES (5)")
	_, err = db.ExecContext(withID("orphan"), "INSERT INTO c VALUES (?)", 5)
	var rejected *groupcommit.RejectedError
	require.ErrorAs(t, err, &rejected)
	require.Zero(t, count(t, db, "SELECT count(*) FROM c"))
}

func TestManyCallersWithOneIDShareOneExecution(t *testing.T) {
	db, dsn := promising(t, "")
	other := ours(t, dsn+"&groupcommit_promises=on&groupcommit_maxlen=3") // as another process
	var done sync.WaitGroup
	var mu sync.Mutex
	fresh := 0
	for i := range 100 {
		for _, d := range []*sql.DB{db, other} {
			done.Go(func() {
				ctx := withID(fmt.Sprint("id ", i%10))
				var res sql.Result
				var err error
				if i%3 == 0 {
					res, err = groupcommit.Go(ctx, d, insertRow, i%10, "v").Await(background)
				} else {
					res, err = d.ExecContext(ctx, insertRow, i%10, "v")
				}
				assert.NoError(t, err)
				if err == nil && !groupcommit.Deduplicated(res) {
					mu.Lock()
					fresh++
					mu.Unlock()
				}
			})
		}
	}
	bounded.Wait(t, "the calls are answered", done.Wait)
	require.Equal(t, 10, fresh)
	require.Equal(t, 10, count(t, db, "SELECT count(*) FROM a"))
}

func TestAWaiterOutlivesTheFirstCallersContext(t *testing.T) {
	db, _ := promising(t, "")
	release := hold(t, db)
	ctx, cancel := context.WithCancel(withID("shared"))
	first := groupcommit.Go(ctx, db, insertRow, 1, "v")
	awaitQueued(t, db, 1)
	second := groupcommit.Go(withID("shared"), db, insertRow, 1, "v")
	third, stop := context.WithCancel(withID("shared"))
	gone := groupcommit.Go(third, db, insertRow, 1, "v")
	stop()
	_, err := gone.Await(background)
	require.ErrorIs(t, err, context.Canceled)
	cancel()
	_, err = first.Await(background)
	require.ErrorIs(t, err, context.Canceled)
	release()
	res, err := second.Await(background)
	require.NoError(t, err)
	rowsOf(t, res, 1, 1, false)
}

func TestAMismatchIsToldWhileTheFirstIsUnderWay(t *testing.T) {
	db, _ := promising(t, "")
	release := hold(t, db)
	first := groupcommit.Go(withID("one"), db, insertRow, 1, "v")
	_, err := db.ExecContext(withID("one"), insertRow, 2, "v")
	require.ErrorIs(t, err, groupcommit.ErrMismatch)
	release()
	_, err = first.Await(background)
	require.NoError(t, err)
}

func TestAnIDIsForOneStatementOutsideATransaction(t *testing.T) {
	db, dsn := promising(t, "")
	for name, try := range map[string]func(ctx context.Context) error{
		"DDL": func(ctx context.Context) error { _, err := db.ExecContext(ctx, "CREATE TABLE x (y)"); return err },
		"two statements": func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, "DELETE FROM a; DELETE FROM a")
			return err
		},
		"transaction": func(ctx context.Context) error { _, err := db.BeginTx(ctx, nil); return err },
		"query": func(ctx context.Context) error {
			return db.QueryRowContext(ctx, "DELETE FROM a").Scan(new(int))
		},
		"in a transaction": func(ctx context.Context) error {
			tx, err := db.Begin()
			require.NoError(t, err)
			defer tx.Rollback()
			_, err = tx.ExecContext(ctx, "DELETE FROM a")
			return err
		},
	} {
		err := try(withID("mine"))
		require.ErrorContains(t, err, `id "mine"`, name)
		require.ErrorContains(t, err, "cannot have one", name)
	}
	for _, id := range []string{"", strings.Repeat("x", 256), "\xff", "a\x00b"} {
		_, err := db.ExecContext(withID(id), insertRow, 1, "v")
		require.Error(t, err, "%q", id)
		_, err = groupcommit.Go(withID(id), db, insertRow, 1, "v").Await(background)
		require.Error(t, err, "%q", id)
	}
	without := ours(t, dsn)
	_, err := without.ExecContext(withID("mine"), insertRow, 1, "v")
	require.ErrorContains(t, err, "keeps no promises")
	_, err = groupcommit.Lookup(background, without, "mine")
	require.ErrorContains(t, err, "keeps no promises")
	require.Zero(t, count(t, db, "SELECT count(*) FROM a"))
}

func TestOtherWaysToExecHaveIDsToo(t *testing.T) {
	db, _ := promising(t, "")
	st, err := db.Prepare(insertRow)
	require.NoError(t, err)
	defer st.Close()
	c, err := db.Conn(background)
	require.NoError(t, err)
	defer c.Close()
	require.Equal(t, 1, count(t, c, "SELECT 1")) // on a connection that c has from now on
	for name, try := range map[string]func(ctx context.Context) (sql.Result, error){
		"prepared": func(ctx context.Context) (sql.Result, error) { return st.ExecContext(ctx, 1, "v") },
		"leased":   func(ctx context.Context) (sql.Result, error) { return c.ExecContext(ctx, insertRow, 2, "v") },
		"not batched": func(ctx context.Context) (sql.Result, error) {
			return db.ExecContext(groupcommit.NoBatch(ctx), insertRow, 3, "v")
		},
		"not batched promise": func(ctx context.Context) (sql.Result, error) {
			return groupcommit.Go(groupcommit.NoBatch(ctx), db, insertRow, 4, "v").Await(background)
		},
	} {
		for again := range 2 {
			res, err := try(withID(name))
			require.NoError(t, err, name)
			require.Equal(t, again == 1, groupcommit.Deduplicated(res), name)
		}
	}
	require.Equal(t, 4, count(t, db, "SELECT count(*) FROM a"))
}

func TestInMemoryThereIsALedgerToo(t *testing.T) {
	db := ours(t, ":memory:?groupcommit_promises=on", "CREATE TABLE a (k INTEGER UNIQUE, v TEXT)")
	for again := range 2 {
		res, err := db.ExecContext(withID("x"), insertRow, 1, "v")
		require.NoError(t, err)
		rowsOf(t, res, 1, 1, again == 1)
	}
}

func TestWithoutItsLedgerNothingIsExecutedAndNeighboursAre(t *testing.T) {
	db, _ := promising(t, "")
	exec(t, db, "SELECT 1")
	exec(t, db, "DROP TABLE groupcommit_promises")
	release := hold(t, db)
	before := groupcommit.Go(background, db, insertRow, 1, "v")
	lost := groupcommit.Go(withID("x"), db, insertRow, 2, "v")
	awaitQueued(t, db, 2)
	release()
	_, err := before.Await(background)
	require.NoError(t, err)
	_, err = lost.Await(background)
	require.ErrorContains(t, err, "groupcommit_promises")
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM a"))
}

func TestALedgerThatCannotBeUsedIsAnErrorAtOpen(t *testing.T) {
	dsn := dsnOf(t, "")
	openDB(t, "sqlite3", dsn, "CREATE TABLE groupcommit_promises (id TEXT PRIMARY KEY)")
	db := ours(t, dsn+"&groupcommit_promises=on")
	require.ErrorIs(t, db.Ping(), durable.ErrSchema)
}

func TestPromisesAreDeletedWhenTheyAreOld(t *testing.T) {
	db, dsn := promising(t, "&groupcommit_retention=40ms")
	other := ours(t, dsn+"&groupcommit_promises=on")
	require.NoError(t, other.Ping())
	var done sync.WaitGroup
	for i := range 3000 {
		done.Go(func() {
			_, err := db.ExecContext(withID(fmt.Sprint(i)), "INSERT INTO a (v) VALUES (?)", i)
			assert.NoError(t, err)
		})
	}
	bounded.Wait(t, "the calls are answered", done.Wait)
	bounded.Until(t, "the promises are deleted", func() bool { return count(t, db, "SELECT count(*) FROM groupcommit_promises") <= 1 })
	res, err := db.ExecContext(withID("1"), "INSERT INTO a (v) VALUES (?)", 1)
	require.NoError(t, err)
	require.False(t, groupcommit.Deduplicated(res), "an id may be used again")
	require.NoError(t, db.Close())
}

// There is one connection, which a sweep has to itself while it reads or writes.
func TestPromisesInMemoryAreDeletedWhenTheyAreOld(t *testing.T) {
	db := ours(t, ":memory:?groupcommit_promises=on&groupcommit_retention=40ms", "CREATE TABLE a (k INTEGER, v TEXT)")
	for i := range 3 {
		_, err := db.ExecContext(withID(fmt.Sprint(i)), insertRow, i, "v")
		require.NoError(t, err)
	}
	bounded.Until(t, "the promises are deleted", func() bool { return count(t, db, "SELECT count(*) FROM groupcommit_promises") == 1 })
	require.Equal(t, 3, count(t, db, "SELECT count(*) FROM a"))
}

func TestTheRetentionIsThatOfAStoresPromisesToo(t *testing.T) {
	db, _ := promising(t, "&groupcommit_retention=40ms")
	store, err := durable.NewSQL(background, db)
	require.NoError(t, err)
	for _, id := range []string{"completed", "pending"} {
		_, err = store.Create(background, durable.CreateRequest{ID: id})
		require.NoError(t, err)
	}
	_, err = store.Resolve(background, durable.CompleteRequest{ID: "completed"})
	require.NoError(t, err)
	bounded.Until(t, "the promise is deleted", func() bool {
		_, err = store.Get(background, "completed")
		return errors.Is(err, durable.ErrNotFound)
	})
	_, err = store.Get(background, "pending")
	require.NoError(t, err)
}

func TestALedgerThatIgnoresARecordKeepsItsCallFromTakingEffect(t *testing.T) {
	db, _ := promising(t, "")
	exec(t, db, "SELECT 1")
	exec(t, db, "CREATE TRIGGER forgetful BEFORE INSERT ON groupcommit_promises WHEN NEW.id = 'x' BEGIN SELECT RAISE(IGNORE); END")
	release := hold(t, db)
	neighbour := groupcommit.Go(withID("y"), db, insertRow, 1, "v")
	lost := groupcommit.Go(withID("x"), db, insertRow, 2, "v")
	awaitQueued(t, db, 2)
	release()
	_, err := neighbour.Await(background)
	require.NoError(t, err)
	_, err = lost.Await(background)
	require.ErrorContains(t, err, "0 rows of 1")
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM a"))
}

func TestAPromiseTellsWhetherItsCallWasExecuted(t *testing.T) {
	db, dsn := promising(t, "")
	put := func(db *sql.DB, id string, k int) *groupcommit.Promise {
		p := groupcommit.Go(withID(id), db, "INSERT INTO a (k, v) VALUES (?, 'x')", k)
		<-p.Done()
		return p
	}
	require.False(t, put(db, "first", 1).Deduplicated())
	require.True(t, put(db, "first", 1).Deduplicated(), "kept in this process")
	require.False(t, put(db, "refused", 1).Deduplicated(), "an error")
	require.False(t, put(db, "refused", 1).Deduplicated(), "a recorded error")

	require.NoError(t, db.Close())
	db = ours(t, dsn+"&groupcommit_promises=on")
	require.True(t, put(db, "first", 1).Deduplicated(), "from the ledger")

	release := hold(t, db)
	p := groupcommit.Go(withID("second"), db, "INSERT INTO a (k, v) VALUES (2, 'x')")
	joins := groupcommit.Go(withID("second"), db, "INSERT INTO a (k, v) VALUES (2, 'x')")
	require.False(t, joins.Deduplicated(), "it is not settled")
	release()
	<-p.Done()
	<-joins.Done()
	require.Equal(t, []bool{false, true}, []bool{p.Deduplicated(), joins.Deduplicated()}, "it has joined the one under way")
}
