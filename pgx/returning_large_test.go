package pgx_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/require"
)

const (
	many = "INSERT INTO log (k) SELECT g FROM generate_series(1, $1::int) g RETURNING k"
	wide = "INSERT INTO rows (k, v) VALUES (7, repeat('x', $1)) RETURNING v"
)

// largeModes are the ways of groups. Only with the first is a result that is too large known before its transaction is committed.
var largeModes = []string{"transaction", "autocommit", "simple"}

func largeRig(t *testing.T, mode string) *rig {
	if mode == "simple" {
		return simply(t, nil)
	}
	return setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{pgtest.Param("groupcommit_mode", mode)}, largeGroups)
}

// knows has groups learn that a text has few rows.
func (r *rig) knows(text string) {
	r.Helper()
	_, members := r.asOne(query(text, 1), query(text, 0), query(text, 1), query(text, 2))
	require.Len(r, members, 4)
}

// What is over the bound is right, costs no neighbour his answer, and keeps its text out of groups.
func TestAQueryWithMoreRowsThanAGroupKeepsIsRight(t *testing.T) {
	t.Parallel()
	for _, mode := range largeModes {
		for name, large := range map[string]step{"rows": query(many, 257), "a hundred thousand rows": query(many, 100_000), "bytes": query(wide, 70_000), "megabytes": query(wide, 30_000_000), "one is read": first(many, 300)} {
			t.Run(mode+"/"+name, func(t *testing.T) {
				t.Parallel()
				r := largeRig(t, mode)
				tables := []string{"log", "rows"}
				neighbours := []step{neighbour(-1), query("INSERT INTO log (k) VALUES ($1) RETURNING k", -2)}
				steps := slices.Concat(neighbours, []step{large}, neighbours)
				_, members := r.asPlain(tables, steps...)
				require.Equal(t, mode == "autocommit", slices.Contains(members, large.text), "where COMMIT can be held back, it is no member")
				for _, n := range neighbours {
					require.Contains(t, members, n.text)
				}
				_, members = r.asPlain(tables, steps...)
				require.NotContains(t, members, large.text, "it joins no group")
			})
		}
	}
}

func TestAQueryWithAsManyRowsAsAGroupKeepsIsAMember(t *testing.T) {
	t.Parallel()
	for _, mode := range largeModes {
		for name, small := range map[string]step{"rows": query(many, 256), "bytes": query(wide, 60_000)} {
			t.Run(mode+"/"+name, func(t *testing.T) {
				t.Parallel()
				r := largeRig(t, mode)
				for range 2 {
					_, members := r.asPlain([]string{"log", "rows"}, neighbour(-1), small, neighbour(-2))
					require.Contains(t, members, small.text)
				}
			})
		}
	}
}

// The others are undone once for a text, and still are one transaction.
func TestSeveralQueriesWithMoreRowsThanAGroupKeepsCostTheOthersOneTurn(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"transaction", "simple"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := largeRig(t, mode)
			r.asPlain([]string{"log"}, neighbour(-1), query(many, 300), query(many, 400), neighbour(-2), query(many, 1), neighbour(-3))
			require.Equal(t, "1", r.value("SELECT count(DISTINCT xmin::text) FROM log WHERE k < 0"))
		})
	}
}

// When COMMIT has been sent, the rows are the caller's, however many they are.
func TestAQueryThatNeverHadManyRowsMayHaveThem(t *testing.T) {
	t.Parallel()
	r := largeRig(t, "transaction")
	r.knows(many)
	_, members := r.asPlain([]string{"log"}, neighbour(-1), query(many, 100_000), neighbour(-2))
	require.Contains(t, members, many)
	_, members = r.asPlain([]string{"log"}, neighbour(-1), query(many, 1), neighbour(-2))
	require.NotContains(t, members, many, "it joins no group for a while")
}

// A client that only writes and a server that only writes wait for each other for ever.
func TestAServerThatSendsManyRowsWhileALargeGroupIsWrittenIsHeard(t *testing.T) {
	t.Parallel()
	for _, mode := range largeModes[:2] {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := largeRig(t, mode)
			text := strings.ReplaceAll(wide, "7", "$2::int")
			r.exec(r.plain, "ALTER TABLE rows ALTER v SET STORAGE EXTERNAL")
			_, members := r.asOne(query(text, 1, 1), query(text, 1, 2), query(text, 1, 3), query(text, 1, 4))
			require.Len(t, members, 4)
			var steps []step
			for i := range 3 {
				steps = append(steps, query(text, 30_000_000, 10+i))
			}
			for _, c := range large(100) {
				steps = append(steps, execute("INSERT INTO rows (k, v) VALUES ($1 + 100::int, $2)", c.args...))
			}
			for i := range 3 {
				steps = append(steps, query(text, 1_000_000, 20+i))
			}
			answers, members := r.asOne(steps...)
			for i, a := range answers {
				require.False(t, fails(a), "step %d", i)
			}
			require.Len(t, members, len(steps))
			require.Equal(t, "110", r.value("SELECT count(*) FROM rows"))
		})
	}
}
