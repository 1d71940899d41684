package sqlite3_test

import (
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/sqlite3"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// A group's calls go to SQLite several at once, or each by the driver's own call. A program sees no difference.

// eachWay runs a story in both ways.
func eachWay(t *testing.T, story func(t *testing.T)) {
	t.Run("AtOnce", story)
	t.Run("ByTheDriver", func(t *testing.T) {
		defer sqlite3.DriverOnly()()
		story(t)
	})
}

// sameInGroups executes calls of one text on plain one after the other, and on db in groups, twice: the second group finds its statements
// prepared, and goes to SQLite as a whole.
func sameInGroups(t *testing.T, plain, db *sql.DB, query string, argLists [][]any) {
	t.Helper()
	for range 2 {
		want, got := make([]*call, len(argLists)), make([]*call, len(argLists))
		for i, args := range argLists {
			want[i], got[i] = &call{query: query, args: args}, &call{query: query, args: args}
			want[i].exec(plain)
		}
		asGroup(t, db, got)
		for i := range want {
			require.Equal(t, want[i].err, got[i].err, "%.100v", argLists[i])
			require.Equal(t, want[i].rows, got[i].rows, "%.100v", argLists[i])
			require.Equal(t, want[i].id, got[i].id, "%.100v", argLists[i])
		}
	}
}

type named struct{ n int }

func (v named) Value() (driver.Value, error) { return fmt.Sprint("valuer ", v.n), nil }

type ownText string

func TestTheDriversHandlesAreFound(t *testing.T) {
	c, err := (&mattn.SQLiteDriver{}).Open(":memory:")
	require.NoError(t, err)
	defer c.Close()
	require.Equal(t, sqlite3.MayCross, sqlite3.Crosses(c.(*mattn.SQLiteConn)), "has the driver changed, or its way to be linked?")
}

func allKinds() (all [][]any) {
	far := time.FixedZone("", -(11*3600 + 30*60 + 15))
	var none *int
	seven := 7
	for _, v := range []any{
		nil, none, &seven, 1, -1, int8(-8), int16(16), int32(-32), int64(math.MinInt64), int64(math.MaxInt64), uint8(8), uint16(16), uint32(math.MaxUint32), uint64(64),
		true, false, 0.0, math.Copysign(0, -1), 1.0, 0.1, float32(0.1), math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, math.SmallestNonzeroFloat64, 1e15, 9007199254740993.0,
		"", "a", "ä€𝄞", "a\x00b", "\x00", "\xff\xfe", "12", " 12 ", "1e3", "0x10", "nan", strings.Repeat("long", 10_000), strings.Repeat("x", 70_000),
		[]byte(nil), []byte{}, []byte{0}, []byte("12"), []byte{0xff, 0, 0xfe}, []byte(strings.Repeat("blob", 10_000)), []byte(strings.Repeat("x", 70_000)),
		json.RawMessage(`{"a":1}`), json.RawMessage(nil), json.RawMessage{}, ownText("own"), named{3}, sql.NullString{}, sql.NullString{String: "s", Valid: true},
		time.Time{}, time.Unix(0, 0), time.Unix(1, 123456789).UTC(), time.Unix(1, 120000000).UTC(), time.Date(12024, 2, 29, 23, 59, 59, 999999999, far), time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC),
		sql.Named("a", 5),
	} {
		all = append(all, []any{v})
	}
	return append(all, nil, []any{1, 2})
}

func TestEveryKindOfArgumentIsTheDriversOwn(t *testing.T) {
	for _, encoding := range []string{"UTF-8", "UTF-16le"} {
		t.Run(encoding, func(t *testing.T) {
			eachWay(t, func(t *testing.T) {
				// Each argument comes to columns of all affinities, and once more through an expression.
				schema := []string{"PRAGMA encoding = '" + encoding + "'", `CREATE TABLE v (k INTEGER PRIMARY KEY, a, b INTEGER, c REAL, d TEXT, e NUMERIC, f BLOB, g)`}
				query := "INSERT INTO v (a, b, c, d, e, f, g) VALUES (?1, ?1, ?1, ?1, ?1, ?1, typeof(?1) || quote(?1))"
				plain, db := openDB(t, "sqlite3", dsnOf(t, ""), schema...), ours(t, dsnOf(t, ""), schema...)
				sameInGroups(t, plain, db, query, [][]any{{""}, {""}, {[]byte{}}, {nil}})
				sameInGroups(t, plain, db, query, allKinds())
				sameInGroups(t, plain, db, "INSERT INTO v (a) VALUES (:a)", allKinds())
				parts := []string{"k"}
				for _, column := range strings.Split("abcdefg", "") {
					parts = append(parts, fmt.Sprintf("typeof(%[1]s), hex(%[1]s), quote(%[1]s), length(%[1]s)", column))
				}
				look := "SELECT concat_ws('|', " + strings.Join(parts, ", ") + ") FROM v ORDER BY k"
				require.Equal(t, texts(plain, look), texts(db, look))
			})
		})
	}
}

func TestSeveralTextsInOneGroupHaveTheirOwnArguments(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		schema := []string{"CREATE TABLE a (k INTEGER PRIMARY KEY, v)", "CREATE TABLE b (k INTEGER PRIMARY KEY, v, w)"}
		plain, db := openDB(t, "sqlite3", dsnOf(t, ""), schema...), ours(t, dsnOf(t, ""), schema...)
		for round := range 3 {
			var want []*call
			add := func(query string, args ...any) { want = append(want, &call{query: query, args: args}) }
			for i := range 8 {
				add("INSERT INTO a (v) VALUES (?)", fmt.Sprint("text ", round, i))
				add("INSERT INTO b (v, w) VALUES (?, ?)", []byte{byte(i)}, i)
				add("INSERT INTO b (v, w) VALUES (?, ?)", nil, 1.5)
				add(fmt.Sprintf("INSERT INTO b (w) VALUES (%d)", i)) // goes by the driver
				add("UPDATE b SET w = ? WHERE w = ?", fmt.Sprint(i), i)
				add("DELETE FROM a WHERE k = ?", i)
			}
			got := make([]*call, len(want))
			for i, c := range want {
				got[i] = &call{query: c.query, args: c.args}
				c.exec(plain)
			}
			asGroup(t, db, got)
			require.Equal(t, want, got)
		}
		require.Equal(t, dump(plain), dump(db))
	})
}

func TestAFailedStepHasTheDriversErrorAndIsExecutedOnce(t *testing.T) {
	schema := []string{
		"CREATE TABLE t (k INTEGER PRIMARY KEY, u UNIQUE, n NOT NULL DEFAULT 1, c CHECK (c < 100), p REFERENCES t)",
		"CREATE TABLE s (i INT, x TEXT) STRICT",
		"CREATE TABLE seen (v)",
		"CREATE TRIGGER raises BEFORE INSERT ON t WHEN new.c = 13 BEGIN SELECT RAISE(ABORT, 'thirteen'); END",
		"CREATE TRIGGER fails AFTER INSERT ON t WHEN new.c = 14 BEGIN SELECT RAISE(FAIL, 'fourteen'); END",
		"CREATE TRIGGER ends AFTER INSERT ON t WHEN new.c = 15 BEGIN SELECT RAISE(ROLLBACK, 'fifteen'); END",
	}
	for _, each := range []struct {
		query string
		args  [][]any
	}{
		{"INSERT INTO t (u, n, c) VALUES (?, ?, ?)", [][]any{{1, 1, 1}, {1, 1, 1}, {2, nil, 1}, {3, 1, 100}, {4, 1, 13}, {5, 1, 1}, {6, 1, 14}, {5, 1, 1}, {7, 1, 1}}},
		{"INSERT INTO t (u, n, c) VALUES (?, ?, ?)", [][]any{{1, 1, 1}, {2, 1, 15}, {3, 1, 1}, {1, 1, 1}}},
		{"INSERT OR FAIL INTO t (u) SELECT value FROM json_each(?)", [][]any{{"[1,2,1,3]"}, {"[4]"}, {"{"}, {"[5,6,5]"}, {"[7]"}}},
		{"INSERT OR REPLACE INTO t (u, c) SELECT value, 1 FROM json_each(?)", [][]any{{"[1,2,1,3]"}, {"[1,2"}, {"[5]"}}},
		{"INSERT INTO s VALUES (?, ?)", [][]any{{1, "a"}, {"x", "b"}, {2, []byte("c")}, {3, "d"}}},
		{"INSERT INTO t (k, p) VALUES (?, ?)", [][]any{{1, 1}, {2, 9}, {3, 1}, {"x", 1}, {4, 3}}},
		{"UPDATE t SET c = abs(?)", [][]any{{1}, {int64(math.MinInt64)}, {2}}},
		{"INSERT INTO t (u) VALUES (zeroblob(?))", [][]any{{1}, {int64(math.MaxInt32)}, {2}}},
	} {
		t.Run(each.query, func(t *testing.T) {
			eachWay(t, func(t *testing.T) {
				plain, db := openDB(t, "sqlite3", dsnOf(t, "&_fk=1"), schema...), ours(t, dsnOf(t, "&_fk=1"), schema...)
				sameInGroups(t, plain, db, each.query, each.args)
				require.Equal(t, dump(plain), dump(db))
			})
		})
	}
}

func TestAnUpdateHookThatPanicsInAGroupIsItsCallersOnly(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		inJournals(t, func(t *testing.T, dsn string) {
			_, name := hookedDrivers(func(c *mattn.SQLiteConn) error {
				c.RegisterUpdateHook(func(_ int, _, _ string, row int64) {
					if row == 13 {
						panic("boom")
					}
				})
				return nil
			})
			db := openDB(t, name, dsn, "CREATE TABLE t (a INTEGER PRIMARY KEY)")
			insert := "INSERT INTO t VALUES (?)"
			for round, bad := range []int{0, 13, 13, 0} {
				exec(t, db, "DELETE FROM t WHERE a > ?", -1)
				release := hold(t, db)
				var done sync.WaitGroup
				var hows [4]string
				for i := range hows {
					key := 100 + i
					if i == 2 && bad > 0 {
						key = bad
					}
					done.Go(func() { hows[i] = ending(func() { exec(t, db, insert, key) }) })
					awaitQueued(t, db, i+1)
				}
				release()
				bounded.Wait(t, "the calls are answered", done.Wait)
				want := [4]string{"return", "return", map[int]string{0: "return", 13: "boom"}[bad], "return"}
				require.Equal(t, want, hows, "round %d", round)
				left := 3
				if bad == 0 {
					left = 4
				}
				require.Equal(t, left, count(t, db, "SELECT count(*) FROM t"))
				free(t, dsn)
			}
		})
	})
}

func TestACommitHookThatPanicsOrSaysNoIsAskedInAGroup(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		var mu sync.Mutex
		var commits, rollbacks int
		answer := func() int { return 0 }
		_, name := hookedDrivers(func(c *mattn.SQLiteConn) error {
			c.RegisterCommitHook(func() int {
				mu.Lock()
				defer mu.Unlock()
				commits++
				return answer()
			})
			c.RegisterRollbackHook(func() {
				mu.Lock()
				defer mu.Unlock()
				rollbacks++
			})
			return nil
		})
		db := openDB(t, name, dsnOf(t, ""), "CREATE TABLE t (a)")
		group := func() (cs []*call) {
			for i := range 3 {
				cs = append(cs, &call{query: "INSERT INTO t VALUES (?)", args: []any{i}})
			}
			return cs
		}
		asGroup(t, db, group())
		mu.Lock()
		commits, rollbacks = 0, 0
		mu.Unlock()
		asGroup(t, db, group())
		require.Equal(t, [2]int{1, 1}, [2]int{commits, rollbacks}, "one commit; the transaction that held the turn is rolled back")

		mu.Lock()
		answer = func() int { return 1 }
		mu.Unlock()
		refused := group()
		asGroup(t, db, refused)
		for _, c := range refused {
			require.Equal(t, mattn.ErrConstraint, code(t, c.err))
			require.Equal(t, mattn.ErrConstraintCommitHook, c.err.(mattn.Error).ExtendedCode)
		}
		mu.Lock()
		answer = func() int { return 0 }
		mu.Unlock()
		require.Equal(t, 6, count(t, db, "SELECT count(*) FROM t"))
	})
}
