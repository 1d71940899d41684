package enginetest

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var execStories = []story{
	{"EveryCallerGetsItsOwnResult", everyCallerGetsItsOwnResult},
	{"ConcurrentInsertsAreEachThereOnce", concurrentInsertsAreEachThereOnce},
	{"AnsweredIsVisibleToAnotherConnection", answeredIsVisible},
	{"CallsOfOneGroupSeeEachOtherInOrder", callsOfOneGroupSeeEachOther},
	{"PreparedStatementsServeManyGoroutines", preparedStatements},
	{"QueriesRunBesideGroups", queriesRunBesideGroups},
	{"ReturningQueriesRunBesideGroups", returningQueries},
	{"ValuesArriveAsThroughThePlainDriver", valuesArrive},
	{"PoolLimitsChangeNoResult", poolLimits},
	{"NoBatchGoesStraightToTheDriver", noBatch},
	{"ConnKeepsItsSession", connKeepsItsSession},
	{"RawGivesTheDriversOwnConnection", rawGivesTheConnection},
}

func everyCallerGetsItsOwnResult(s *scene) {
	const n = 20
	type answer struct {
		id, rows int64
		err      error
	}
	var answers [n]answer
	take := func(i int, res sql.Result, err error) {
		a := &answers[i]
		if a.err = err; err != nil {
			return
		}
		if s.LastInsertID {
			a.id, a.err = res.LastInsertId()
		}
		a.rows, err = res.RowsAffected()
		a.err = errors.Join(a.err, err)
	}
	var calls []func()
	for i := range n {
		calls = append(calls, func() {
			res, err := s.db.Exec(s.insert(), name(i), i)
			take(i, res, err)
		})
	}
	s.together(s.db, calls...)
	for i, a := range answers {
		require.NoError(s, a.err)
		require.EqualValues(s, 1, a.rows)
		if s.LastInsertID {
			require.Equal(s, name(i), s.value(s.db, "SELECT name FROM items WHERE id = ?", a.id))
		}
	}

	calls = nil
	for i := range n { // the first one updates n rows, the last one 1
		calls = append(calls, func() {
			res, err := s.db.Exec(s.q("UPDATE items SET x = 1.5 WHERE n >= ?"), i)
			take(i, res, err)
		})
	}
	s.together(s.db, calls...)
	for i, a := range answers {
		require.NoError(s, a.err)
		require.EqualValues(s, n-i, a.rows)
	}
}

func concurrentInsertsAreEachThereOnce(s *scene) {
	const goroutines, each = 16, 20
	s.crowd(goroutines, func(who int) {
		for n := range each {
			res, err := s.db.Exec(s.q("INSERT INTO entries (who, n) VALUES (?, ?)"), who, n)
			if assert.NoError(s, err) {
				rows, err := res.RowsAffected()
				assert.NoError(s, err)
				assert.EqualValues(s, 1, rows)
			}
		}
	})
	db := s.witness()
	require.Equal(s, strconv.Itoa(goroutines*each), s.value(db, "SELECT count(*) FROM entries"))
	require.Empty(s, s.column(db, "SELECT who FROM entries GROUP BY who, n HAVING count(*) <> 1"))
	st := s.stats(s.db)
	require.EqualValues(s, goroutines*each, st.Calls)
	require.Zero(s, st.Queued)
}

func answeredIsVisible(s *scene) {
	other := s.witness()
	s.crowd(8, func(who int) {
		for n := range 10 {
			_, err := s.db.Exec(s.q("INSERT INTO entries (who, n) VALUES (?, ?)"), who, n)
			assert.NoError(s, err)
			var rows int
			err = other.QueryRow(s.q("SELECT count(*) FROM entries WHERE who = ?"), who).Scan(&rows)
			assert.NoError(s, err)
			assert.Equal(s, n+1, rows, "rows of goroutine %d", who)
		}
	})
}

func callsOfOneGroupSeeEachOther(s *scene) {
	var calls []func()
	rows := make([]int64, 4)
	for i, query := range []string{
		"INSERT INTO items (name, n) VALUES (?, 1)",
		"UPDATE items SET n = n + 1 WHERE name = ? AND n = 1",
		"UPDATE items SET n = n + 1 WHERE name = ? AND n = 2",
		"DELETE FROM items WHERE name = ? AND n = 2", // there is none any more
	} {
		calls = append(calls, func() {
			res, err := s.db.Exec(s.q(query), "one")
			if assert.NoError(s, err) {
				rows[i], _ = res.RowsAffected()
			}
		})
	}
	s.together(s.db, calls...)
	require.Equal(s, []int64{1, 1, 1, 0}, rows)
	require.Equal(s, "3", s.value(s.db, "SELECT n FROM items"))
}

func preparedStatements(s *scene) {
	insert, err := s.db.Prepare(s.insert())
	require.NoError(s, err)
	defer insert.Close()
	find, err := s.db.Prepare(s.q("SELECT n FROM items WHERE name = ?"))
	require.NoError(s, err)
	defer find.Close()
	s.crowd(16, func(who int) {
		for i := range 10 {
			n := who*10 + i
			_, err := insert.Exec(name(n), n)
			assert.NoError(s, err)
			var got int
			assert.NoError(s, find.QueryRow(name(n)).Scan(&got))
			assert.Equal(s, n, got)
		}
	})
	require.Equal(s, "160", s.value(s.witness(), "SELECT count(*) FROM items"))
	require.EqualValues(s, 160, s.stats(s.db).Calls)

	var calls []func()
	for n := range 8 {
		calls = append(calls, func() {
			_, err := insert.Exec(name(200+n%4), n) // every name twice
			if n < 4 {
				assert.NoError(s, err, "call %d", n)
			} else {
				assert.True(s, s.NativeError(err), "call %d: %v", n, err)
			}
		})
	}
	s.together(s.db, calls...)
}

func queriesRunBesideGroups(s *scene) {
	var written atomic.Int64
	var writers sync.WaitGroup
	for who := range 8 {
		writers.Go(func() {
			for n := range 20 {
				_, err := s.db.Exec(s.q("INSERT INTO entries (who, n) VALUES (?, ?)"), who, n)
				assert.NoError(s, err)
				written.Add(1)
			}
		})
	}
	s.crowd(4, func(int) {
		for last := int64(0); last < 8*20 && !s.Failed(); {
			answered := written.Load()
			var rows int64
			if !assert.NoError(s, s.db.QueryRow("SELECT count(*) FROM entries").Scan(&rows)) {
				return
			}
			assert.GreaterOrEqual(s, rows, answered, "what was answered is there")
			assert.GreaterOrEqual(s, rows, last, "what was there stays")
			last = rows
		}
	})
	bounded.Wait(s, "all is written", writers.Wait)
}

func returningQueries(s *scene) {
	var mu sync.Mutex
	ids := make(map[int64]int)
	s.crowd(8, func(who int) {
		for i := range 10 {
			n := who*10 + i
			if n%2 == 0 {
				_, err := s.db.Exec(s.insert(), name(n), n)
				assert.NoError(s, err)
				continue
			}
			var id int64
			err := s.db.QueryRow(s.insert()+" RETURNING id", name(n), n).Scan(&id)
			assert.NoError(s, err)
			mu.Lock()
			ids[id] = n
			mu.Unlock()
		}
	})
	require.Len(s, ids, 40)
	other := s.witness()
	for id, n := range ids {
		require.Equal(s, name(n), s.value(other, "SELECT name FROM items WHERE id = ?", id))
	}
	require.Equal(s, "80", s.value(other, "SELECT count(*) FROM items"))
}

// text is a type that database/sql and no driver knows how to convert.
type text string

// shout is a Valuer.
type shout string

func (v shout) Value() (driver.Value, error) { return string(v) + "!", nil }

func valuesArrive(s *scene) {
	at := time.Date(2024, 2, 29, 23, 59, 58, 123456000, time.UTC)
	var none *string
	rows := [][]any{ // name, n, x, data, at, ok
		{"nulls", nil, nil, nil, nil, nil},
		{"zeros", 0, 0.0, []byte{}, time.Unix(0, 0).UTC(), false},
		{"values", int64(-1) << 63, -1.25e300, []byte{0, 1, 255, '\''}, at, true},
		{"", int8(-8), float32(0.5), []byte("text"), at.Add(time.Hour), true},
		{text("named type"), uint16(7), 1e-300, sql.RawBytes("raw"), nil, nil},
		{shout("valuer"), sql.NullInt64{Int64: 4, Valid: true}, sql.NullFloat64{}, nil, sql.NullTime{Time: at, Valid: true}, sql.NullBool{}},
		{"quotes '' \" ? $1 :a -- /*\n日本\U0001F600", &[]int64{5}[0], 0.1, nil, at, none},
	}
	insert := s.q("INSERT INTO items (name, n, x, data, at, ok) VALUES (?, ?, ?, ?, ?, ?)")
	plain := s.twin()
	prepared, err := plain.Prepare(insert)
	require.NoError(s, err)
	defer prepared.Close()
	ours, err := s.db.Prepare(insert)
	require.NoError(s, err)
	defer ours.Close()

	var calls []func()
	for i, row := range rows {
		_, plainErr := plain.Exec(insert, row...)
		calls = append(calls, func() {
			_, err := s.db.Exec(insert, row...)
			s.sameError(plainErr, err, "row %d", i)
		})
	}
	s.together(s.db, calls...) // in a group
	for i, row := range rows { // alone, and prepared
		row = append([]any{fmt.Sprint("prepared ", i)}, row[1:]...)
		_, plainErr := prepared.Exec(row...)
		_, err := ours.Exec(row...)
		s.sameError(plainErr, err, "row %d, prepared", i)
	}
	if s.NamedArgs {
		for _, db := range []*sql.DB{plain, s.db} {
			_, err := db.Exec("INSERT INTO items (name, n, data) VALUES (:name, :n, :name)", sql.Named("n", 5), sql.Named("name", "by name"))
			require.NoError(s, err)
		}
	}
	for _, col := range []string{"name", "n", "x", "data", "at", "ok"} {
		query := "SELECT " + col + " FROM items ORDER BY id"
		require.Equal(s, s.column(plain, query), s.column(s.db, query), col)
	}
}

func poolLimits(s *scene) {
	who := 0
	for _, conns := range []int{1, 2, 5, 0} {
		s.db.SetMaxOpenConns(conns)
		s.db.SetMaxIdleConns(conns)
		who++
		s.crowd(12, func(i int) {
			if i%4 == 3 {
				tx, err := s.db.Begin()
				if assert.NoError(s, err) {
					_, err = tx.Exec(s.q("INSERT INTO entries (who, n) VALUES (?, ?)"), who, i)
					assert.NoError(s, err)
					assert.NoError(s, tx.Commit())
				}
				return
			}
			_, err := s.db.Exec(s.q("INSERT INTO entries (who, n) VALUES (?, ?)"), who, i)
			assert.NoError(s, err)
			p := groupcommit.Go(background, s.db, s.q("INSERT INTO entries (who, n) VALUES (?, ?)"), who, 100+i)
			_, err = p.Await(background)
			assert.NoError(s, err)
			var rows int
			assert.NoError(s, s.db.QueryRow(s.q("SELECT count(*) FROM entries WHERE who = ? AND n IN (?, ?)"), who, i, 100+i).Scan(&rows))
			assert.Equal(s, 2, rows)
		})
		require.Equal(s, "21", s.value(s.db, "SELECT count(DISTINCT n) FROM entries WHERE who = ?", who), "at most %d connections", conns)
		require.Equal(s, "21", s.value(s.db, "SELECT count(*) FROM entries WHERE who = ?", who), "at most %d connections", conns)
	}
}

func noBatch(s *scene) {
	ctx := groupcommit.NoBatch(background)
	before := s.stats(s.db).Calls
	s.crowd(8, func(i int) {
		_, err := s.db.ExecContext(ctx, s.insert(), name(i), i)
		assert.NoError(s, err)
	})
	p := groupcommit.Go(ctx, s.db, s.insert(), name(8), 8)
	_, err := p.Await(background)
	require.NoError(s, err)
	require.Equal(s, before, s.stats(s.db).Calls, "calls of groups")
	require.Equal(s, "9", s.value(s.witness(), "SELECT count(*) FROM items"))

	conn, err := s.db.Conn(background)
	require.NoError(s, err)
	defer conn.Close()
	_, err = conn.ExecContext(ctx, s.insert(), "last", 0)
	require.NoError(s, err)
	require.Equal(s, s.value(conn, "SELECT id FROM items WHERE name = 'last'"), s.value(conn, s.LastID))
}

func connKeepsItsSession(s *scene) {
	fresh := s.value(s.db, s.GetSession)
	conn, err := s.db.Conn(background)
	require.NoError(s, err)
	defer conn.Close()
	s.exec(conn, s.SetSession)
	changed := s.value(conn, s.GetSession)
	require.NotEqual(s, fresh, changed, "SetSession changes what GetSession shows")
	if !s.OneConn {
		s.crowd(8, func(i int) {
			_, err := s.db.Exec(s.insert(), name(i), i)
			assert.NoError(s, err)
		})
		require.Equal(s, fresh, s.value(s.db, s.GetSession), "the session of another connection")
	}
	s.exec(conn, "INSERT INTO items (name, n) VALUES (?, 1)", "on the session")
	require.Equal(s, changed, s.value(conn, s.GetSession), "after an Exec")
	tx, err := conn.BeginTx(background, nil)
	require.NoError(s, err)
	require.Equal(s, changed, s.value(tx, s.GetSession), "in a transaction")
	require.NoError(s, tx.Commit())
	require.Equal(s, changed, s.value(conn, s.GetSession), "after a transaction")
}

func rawGivesTheConnection(s *scene) {
	conn, err := s.db.Conn(background)
	require.NoError(s, err)
	defer conn.Close()
	require.NoError(s, groupcommit.Raw(background, conn, func(dc driver.Conn) error {
		require.True(s, s.NativeConn(dc), "%T", dc)
		return nil
	}))
	s.exec(conn, "INSERT INTO items (name, n) VALUES (?, 1)", "after Raw")
	oops := errors.New("oops")
	require.Equal(s, oops, groupcommit.Raw(background, conn, func(driver.Conn) error { return oops }))
	require.Error(s, groupcommit.Raw(background, conn, nil))
	require.NoError(s, conn.Close())
	require.ErrorIs(s, groupcommit.Raw(background, conn, func(driver.Conn) error { return nil }), sql.ErrConnDone)
	require.Equal(s, "after Raw", s.value(s.witness(), "SELECT name FROM items"))
}
