package pgx_test

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/pgx"
	"github.com/stretchr/testify/require"
)

// manyIDs has committed one group with statements of many rows.
func manyIDs(t *testing.T) (r *rig, groups func() int64) {
	t.Parallel()
	e := pgx.AlwaysMany(10, 3)
	r = ledgerRig(t, groupcommit.WithEngine(e), groupcommit.ManyRows(true), groupcommit.Mode(groupcommit.Transaction))
	require.Equal(t, all(done, 3), r.named(named{"prepared 1", insert(-1)}, named{"prepared 2", insert(-2)}, named{"prepared 3", insert(-3)}))
	require.EqualValues(t, 1, pgx.ManyGroups(e))
	return r, func() int64 { return pgx.ManyGroups(e) }
}

// recorded requires so many calls to have their row and their record, by the same transaction.
func (r *rig) recorded(calls int) {
	r.Helper()
	require.Equal(r, fmt.Sprint(calls), r.value(`SELECT count(*) FROM rows JOIN groupcommit_promises p ON p.xmin = rows.xmin AND p.id = 'call "' || k || '" \of ä'
		WHERE k >= 0 AND convert_from(value, 'UTF8') = '{"rows":1}' AND state = 1`))
	require.Equal(r, fmt.Sprint(calls), r.value("SELECT count(*) FROM rows WHERE k >= 0"))
}

func TestCallsWithIDsAreStatementsOfManyRowsEachWithItsRecord(t *testing.T) {
	r, groups := manyIDs(t)
	calls := ids(inserts(0, 26))
	require.Equal(t, all(done, 26), r.named(calls...))
	require.EqualValues(t, 2, groups())
	r.recorded(26)
	r.forget()
	more := ids(inserts(0, 40))
	got := r.named(more[20:]...) // 6 that are there
	require.Equal(t, append(all(doneBefore, 6), all(done, 14)...), got)
	require.EqualValues(t, 3, groups(), "behind those that are there, too")
	r.recorded(40)
}

func TestTheViolationInOneOfManyRowsWithIDsIsItsOwnAndRecorded(t *testing.T) {
	r, _ := manyIDs(t)
	r.exec(r.plain, "INSERT INTO rows VALUES (-7, 'there')")
	calls := ids(inserts(0, 26))
	calls[11].args[0] = -7
	got := r.named(calls...)
	require.Equal(t, "23505", sqlState(got[11].err))
	require.Equal(t, append(all(done, 11), all(done, 14)...), append(got[:11:11], got[12:]...))
	r.recorded(25)
	r.forget()
	var rejected *groupcommit.RejectedError
	require.ErrorAs(t, execID(background, r.db, calls[11]).err, &rejected)
	require.Equal(t, "23505", rejected.Code)
}

func TestAnArgumentThatCannotBeSentLeavesNoClaimAmongManyRows(t *testing.T) {
	for name, value := range map[string]valuer{
		"an error": func() (driver.Value, error) { return nil, errors.New("no value") },
		"a panic":  func() (driver.Value, error) { panic("no value") },
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := manyIDs(t)
			calls := inserts(0, 24)
			calls[11].args[1] = value
			release := r.hold()
			var promises []*groupcommit.Promise
			for _, c := range ids(calls) {
				promises = append(promises, groupcommit.Go(groupcommit.WithID(background, c.id), r.db, c.query, c.args...))
			}
			release()
			for i, p := range promises {
				_, err := p.Await(background)
				require.Equal(t, i == 11, err != nil, "call %d: %v", i, err)
			}
			r.recorded(23)
			require.Equal(t, "1", r.value("SELECT count(DISTINCT xmin::text) FROM rows WHERE k >= 0"), "the others are one group")
			_, err := groupcommit.Lookup(background, r.db, ids(calls)[11].id)
			require.ErrorIs(t, err, durable.ErrNotFound)
		})
	}
}

// The trigger comes when the table is known as one that may have many rows. It leaves one row out, or tells statements apart.
func TestARecordIsTheTruthWhereTheTableOfManyRowsHasBecomeAnother(t *testing.T) {
	for each, left := range map[string]int{"STATEMENT": 13, "ROW": 12} {
		t.Run(each, func(t *testing.T) {
			r, _ := manyIDs(t)
			r.exec(r.plain, "DELETE FROM rows")
			r.exec(r.plain, `CREATE FUNCTION few() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				INSERT INTO log (k) VALUES (1); RETURN CASE WHEN NEW.k = 7 THEN NULL ELSE NEW END; END $$`)
			r.exec(r.plain, "CREATE TRIGGER few BEFORE INSERT ON rows FOR EACH "+each+" EXECUTE FUNCTION few()")
			calls := ids(inserts(0, 13))
			want := all(done, 13)
			want[7].rows = int64(left - 12)
			require.Equal(t, want, r.named(calls...))
			require.Equal(t, "13", r.value("SELECT count(*) FROM log"), "each is a statement, and the group that was rolled back has left nothing")
			r.recorded(left)
			r.forget()
			want[7].replayed = true
			require.Equal(t, want[7], execID(background, r.db, calls[7]))
		})
	}
}

func TestCallsWithIDsOfManyRowsWhoseConnectionIsLostRunOnce(t *testing.T) {
	t.Parallel()
	r := ledgerRig(t, alwaysMany(), groupcommit.ManyRows(true), groupcommit.LockTimeout(0))
	require.Equal(t, all(done, 3), r.named(named{"prepared 1", insert(-1)}, named{"prepared 2", insert(-2)}, named{"prepared 3", insert(-3)}))
	tx, err := r.plain.Begin()
	require.NoError(t, err)
	defer tx.Rollback()
	_, err = tx.Exec("INSERT INTO rows VALUES (7, 'mine')")
	require.NoError(t, err)
	release := r.beginNamed(ids(inserts(0, 21))...)
	got := make(chan []outcome, 1)
	go func() { got <- release() }()
	waits := "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO rows%$3%' AND datname = current_database()"
	r.eventually("a statement of many rows waits", func() bool { return r.value("SELECT count(*) "+waits) == "1" })
	r.value("SELECT pg_terminate_backend(pid)::text " + waits)
	require.NoError(t, tx.Rollback())
	require.Equal(t, all(done, 21), bounded.Receive(t, "the calls are answered", got))
	r.recorded(21)
}
