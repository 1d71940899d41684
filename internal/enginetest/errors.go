package enginetest

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync/atomic"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var errorStories = []story{
	{"AViolationInAGroupIsItsOwnCallersOnly", violationInAGroup},
	{"ManyViolationsInAGroupAreEachItsOwnCallers", manyViolations},
	{"ErrorsAreThePlainDriversAlone", errorsAlone},
	{"ErrorsAreThePlainDriversInAGroup", errorsInAGroup},
	{"APanicIsItsOwnCallersOnly", panicIsItsOwnCallers},
	{"APanicInAQueryKeepsNobodyFromWriting", panicInAQuery},
}

func violationInAGroup(s *scene) {
	plain := s.twin()
	s.exec(plain, "INSERT INTO items (name, n) VALUES ('taken', 1)")
	_, want := plain.Exec(s.insert(), "taken", 2)
	require.Error(s, want)
	require.True(s, s.NativeError(want))

	s.exec(s.db, "INSERT INTO items (name, n) VALUES ('taken', 1)")
	const n, bad = 9, 4
	errs := make([]error, n)
	var calls []func()
	for i := range n {
		calls = append(calls, func() {
			who := name(i)
			if i == bad {
				who = "taken"
			}
			_, errs[i] = s.db.Exec(s.insert(), who, i)
		})
	}
	s.together(s.db, calls...)
	for i, err := range errs {
		if i == bad {
			s.sameError(want, err)
		} else {
			require.NoError(s, err, "call %d is a neighbour", i)
		}
	}
	require.Equal(s, []string{"1", "0", "1", "2", "3", "5", "6", "7", "8"},
		s.column(s.witness(), "SELECT n FROM items ORDER BY CASE name WHEN 'taken' THEN -1 ELSE n END"))
}

func manyViolations(s *scene) {
	const n = 40
	errs := make([]error, n)
	var calls []func()
	for i := range n {
		calls = append(calls, func() { _, errs[i] = s.db.Exec(s.insert(), name(i/4), i) })
	}
	s.together(s.db, calls...)
	for i, err := range errs {
		if i%4 == 0 {
			require.NoError(s, err, "call %d is the first with its name", i)
		} else {
			require.True(s, s.NativeError(err), "call %d: %v", i, err)
		}
	}
	require.Equal(s, "10", s.value(s.witness(), "SELECT count(*) FROM items"))
}

// mistake is a call that the plain driver answers with an error.
type mistake struct {
	what  string
	query string
	args  []any
}

// unconvertible is a type that no argument may have.
type unconvertible struct{ _ chan int }

type failing struct{}

func (failing) Value() (driver.Value, error) { return nil, errors.New("the valuer fails") }

type lying struct{}

func (lying) Value() (driver.Value, error) { return unconvertible{}, nil }

var outDest int // one for all, because its address may stand in the error

func (s *scene) mistakes() []mistake {
	insert := s.insert()
	return []mistake{
		{"violation of UNIQUE", insert, []any{"taken", 1}},
		{"violation of NOT NULL", insert, []any{nil, 1}},
		{"no such table", s.q("INSERT INTO nothing (name) VALUES (?)"), []any{"x"}},
		{"no such column", s.q("UPDATE items SET nothing = ?"), []any{"x"}},
		{"no such table, no arguments", "DELETE FROM nothing", nil},
		{"no sense", s.q("INSERT INTO items (name VALUES (?)"), []any{"x"}},
		{"no end", s.q("INSERT INTO items (name) VALUES (?, 'x"), []any{"x"}},
		{"no statement", "groupcommit", nil},
		{"nothing", "", nil},       // no mistake for some
		{"a comment", "--\n", nil}, // nor this
		{"too few arguments", insert, []any{"x"}},
		{"no arguments", fmt.Sprintf("%s /* %d */", insert, names.Add(1)), nil}, // a connection may know insert, and say so
		{"too many arguments", insert, []any{"too many", 1, 2, 3}},
		{"an argument that cannot be converted", insert, []any{"x", unconvertible{}}},
		{"a second one", insert, []any{unconvertible{}, make(chan int)}},
		{"a pointer to one", insert, []any{"x", &unconvertible{}}},
		{"a number that is too large", insert, []any{"x", uint64(math.MaxUint64)}},
		{"a Valuer that fails", insert, []any{failing{}, 1}},
		{"a Valuer that lies", insert, []any{lying{}, 1}},
		{"an output argument", insert, []any{"out", sql.Out{Dest: &outDest}}},
		{"a name that is no name", insert, []any{sql.Named("1", "x"), 1}},
	}
}

// routes are the ways by which a call reaches a group.
var routes = []struct {
	name string
	exec func(db *sql.DB, query string, args []any) error
}{
	{"Exec", func(db *sql.DB, query string, args []any) error {
		_, err := db.Exec(query, args...)
		return err
	}},
	{"Prepare", func(db *sql.DB, query string, args []any) error {
		if query == "" || query == "--\n" { // go-sqlite3 crashes on a prepared statement of nothing
			return nil
		}
		st, err := db.Prepare(query)
		if err != nil {
			return err
		}
		defer st.Close()
		_, err = st.Exec(args...)
		return err
	}},
	{"Go", func(db *sql.DB, query string, args []any) error {
		if _, err := groupcommit.StatsOf(db); err != nil { // the plain driver's
			_, err := db.Exec(query, args...)
			return err
		}
		_, err := groupcommit.Go(background, db, query, args...).Await(background)
		return err
	}},
}

func errorsAlone(s *scene) {
	for _, route := range routes {
		plain := s.twin()
		s.exec(plain, "INSERT INTO items (name, n) VALUES ('taken', 1)")
		s.exec(s.db, "DELETE FROM items")
		s.exec(s.db, "INSERT INTO items (name, n) VALUES ('taken', 1)")
		for _, m := range s.mistakes() {
			want := route.exec(plain, m.query, m.args)
			got := route.exec(s.db, m.query, m.args)
			s.sameError(want, got, "%s, through %s: %s", m.what, route.name, m.query)
			require.Equal(s, s.column(plain, "SELECT name FROM items ORDER BY name"), s.column(s.db, "SELECT name FROM items ORDER BY name"),
				"%s, through %s", m.what, route.name)
		}
	}
}

func errorsInAGroup(s *scene) {
	plain := s.twin()
	s.exec(plain, "INSERT INTO items (name, n) VALUES ('taken', 1)")
	s.exec(s.db, "INSERT INTO items (name, n) VALUES ('taken', 1)")
	for _, route := range routes {
		ms := s.mistakes()
		want, got := make([]error, len(ms)), make([]error, len(ms))
		for i, m := range ms {
			want[i] = route.exec(plain, m.query, m.args)
			if route.name == "Exec" && want[i] == nil {
				s.exec(plain, "DELETE FROM items WHERE name <> 'taken'")
			}
		}
		release := s.hold(s.db)
		queued := 0
		answered := make(chan int, 2*len(ms))
		for i, m := range ms {
			go func() {
				got[i] = route.exec(s.db, m.query, m.args)
				answered <- i
			}()
			go func() {
				_, err := s.db.Exec(s.insert(), name(i), i)
				assert.NoError(s, err, "a neighbour")
				answered <- i
			}()
			queued++
		}
		bounded.Until(s, "the neighbours are queued, and those mistakes that only the database sees", func() bool {
			return s.stats(s.db).Queued >= queued
		})
		release()
		for range 2 * len(ms) {
			bounded.Receive(s, "a call is answered", answered)
		}
		for i, m := range ms {
			s.sameError(want[i], got[i], "%s, through %s, in a group", m.what, route.name)
		}
		require.Equal(s, strconv.Itoa(len(ms)), s.value(s.witness(), "SELECT count(*) FROM items WHERE name LIKE 'name %'"), "neighbours")
		s.exec(s.db, "DELETE FROM items WHERE name <> 'taken'")
		s.exec(plain, "DELETE FROM items WHERE name <> 'taken'")
	}
}

// bomb is a Valuer that panics.
type bomb struct{ with any }

func (b bomb) Value() (driver.Value, error) { panic(b.with) }

func panicIsItsOwnCallers(s *scene) {
	reason := errors.New("the valuer panics")
	var panics atomic.Int64
	for range 3 {
		s.crowd(12, func(i int) {
			if i%4 != 2 {
				_, err := s.db.Exec(s.q("INSERT INTO entries (who, n) VALUES (?, ?)"), i, i)
				assert.NoError(s, err)
				return
			}
			defer func() {
				assert.Equal(s, reason, recover(), "the caller's own panic")
				panics.Add(1)
			}()
			s.db.Exec(s.q("INSERT INTO entries (who, n) VALUES (?, ?)"), i, bomb{reason})
			assert.Fail(s, "Exec returned")
		})
	}
	require.EqualValues(s, 9, panics.Load())
	require.Equal(s, "27", s.value(s.witness(), "SELECT count(*) FROM entries"))

	p := groupcommit.Go(background, s.db, s.q("INSERT INTO entries (who, n) VALUES (?, ?)"), 1, bomb{reason})
	_, err := p.Await(background)
	var panicked *groupcommit.PanicError
	require.ErrorAs(s, err, &panicked)
	require.Equal(s, reason, panicked.Value)
	require.NotEmpty(s, panicked.Stack)
	require.ErrorIs(s, err, reason)
	require.Equal(s, durable.Rejected, p.State())

	s.exec(s.db, "INSERT INTO entries (who, n) VALUES (1, 1)")
}

// database/sql never puts a connection back whose query has panicked, so no code may depend on its return.
func panicInAQuery(s *scene) {
	const query = "INSERT INTO items (name, n) VALUES (?, ?) RETURNING id"
	reason := errors.New("the valuer panics")
	require.PanicsWithValue(s, reason, func() { s.db.Query(s.q(query), "a", bomb{reason}) })
	s.exec(s.db, "INSERT INTO items (name, n) VALUES (?, 1)", "b")
	st, err := s.db.Prepare(s.q(query))
	require.NoError(s, err)
	defer st.Close()
	require.PanicsWithValue(s, reason, func() { st.Query("a", bomb{reason}) })
	tx, err := s.db.Begin()
	require.NoError(s, err)
	s.exec(tx, "INSERT INTO items (name, n) VALUES (?, 2)", "c")
	require.NoError(s, tx.Commit())
	require.Equal(s, []string{"b", "c"}, s.column(s.witness(), "SELECT name FROM items ORDER BY n"))
}
