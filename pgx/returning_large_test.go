package pgx_test

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
)

const (
	many = "INSERT INTO log (k) SELECT g FROM generate_series(1, $1::int) g RETURNING k"
	wide = "INSERT INTO rows (k, v) VALUES (7, repeat('x', $1)) RETURNING v"
)

// largeModes are the ways of groups.
var largeModes = []string{"transaction", "autocommit", "simple"}

func largeRig(t *testing.T, mode string) *rig {
	if mode == "simple" {
		return simply(t, nil, learnsNothing())
	}
	r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{pgtest.Param("groupcommit_mode", mode)}, largeGroups, learnsNothing())
	r.pipelines = mode == "autocommit"
	return r
}

// What is over the bound is right, costs no neighbour his answer, and keeps its text out of groups.
func TestAQueryWithMoreRowsThanAGroupKeepsIsRight(t *testing.T) {
	t.Parallel()
	for _, mode := range largeModes {
		for name, large := range map[string]step{"rows": query(many, 257), "two thousand rows": query(many, 2_000), "bytes": query(wide, 70_000), "a megabyte": query(wide, 1_000_000), "one is read": first(many, 300)} {
			t.Run(mode+"/"+name, func(t *testing.T) {
				t.Parallel()
				r := largeRig(t, mode)
				tables := []string{"log", "rows"}
				neighbours := []step{neighbour(-1), query("INSERT INTO log (k) VALUES ($1) RETURNING k", -2)}
				steps := slices.Concat(neighbours, []step{large}, neighbours)
				_, members := r.asPlain(tables, steps...)
				require.NotContains(t, members, large.text, "it is no member")
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
					require.Equal(t, !r.pipelines, slices.Contains(members, small.text), "where nothing can be undone, it must be certain before that the rows are few")
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

// tuples is an INSERT of so many rows with one column of a fixed size.
func tuples(n int) string {
	return "INSERT INTO log (k) VALUES ($1)" + strings.Repeat(", (7)", n-1) + " RETURNING k"
}

func TestAnInsertWhoseTextBoundsItsRowsIsAMember(t *testing.T) {
	t.Parallel()
	for _, mode := range largeModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := largeRig(t, mode)
			r.exec(r.plain, "CREATE TABLE keys (id UUID PRIMARY KEY, n INT, at TIMESTAMPTZ)")
			for _, s := range []step{
				query(tuples(256), 1),
				query("INSERT INTO keys (id) VALUES ($1), (gen_random_uuid()) ON CONFLICT (id) DO UPDATE SET at = NULL RETURNING n, at, id IS NULL", "11111111-1111-1111-1111-111111111111"),
				query("INSERT INTO rows (k) VALUES ($1) RETURNING *, repeat('x', 100000)", 1),
			} {
				_, members := r.asPlain([]string{"log", "rows"}, neighbour(-1), s, neighbour(-2))
				require.Equal(t, mode != "simple" || !strings.Contains(s.text, "repeat"), slices.Contains(members, s.text), s.text)
			}
			_, members := r.asPlain([]string{"log"}, neighbour(-1), query(tuples(257), 1), neighbour(-2))
			require.NotContains(t, members, tuples(257))
		})
	}
}

// A rule can give an INSERT of one row a thousand, and a group that sends COMMIT along keeps them all. They are right, and the text leaves groups.
func TestARuleThatGivesAnInsertMoreRowsIsFoundOut(t *testing.T) {
	t.Parallel()
	for _, mode := range largeModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := largeRig(t, mode)
			r.exec(r.plain, "CREATE VIEW seen AS SELECT * FROM log")
			r.exec(r.plain, "CREATE RULE more AS ON INSERT TO seen DO INSTEAD INSERT INTO log SELECT g FROM generate_series(1, 1000) g RETURNING k")
			ruled := query("INSERT INTO seen (k) VALUES ($1) RETURNING k", 1)
			r.asPlain([]string{"log"}, neighbour(-1), ruled, neighbour(-2))
			_, members := r.asPlain([]string{"log"}, neighbour(-1), ruled, neighbour(-2))
			require.NotContains(t, members, ruled.text)
		})
	}
}

// huge has more in its rows than the buffers of a connection have room for.
const huge = "DELETE FROM log WHERE k BETWEEN 1 AND $1 RETURNING k, repeat('x', 300)"

const hugeRows = 40_000

// fewThen has a text give few rows, in groups if it is certain that they are few, and then fills the table.
func (r *rig) fewThen(few ...step) {
	r.Helper()
	for range 2 {
		_, members := r.asOne(append(few, few...)...)
		require.Equal(r, !r.pipelines, slices.Contains(members, huge))
	}
	r.exec(r.plain, fmt.Sprintf("INSERT INTO log SELECT g FROM generate_series(1, %d) g", hugeRows))
}

// However few rows a text has had, the next time it may have a million. Then they come one by one, and nothing is committed before.
func TestAQueryThatNeverHadManyRowsRunsAloneWhenItHas(t *testing.T) {
	t.Parallel()
	for _, mode := range largeModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := largeRig(t, mode)
			few := r.prepared(huge, 0)
			few.run(r.plain)
			r.fewThen(few, query(huge, 0))
			streams := step{huge, func(db *sql.DB) string {
				rows, err := db.Query(huge, hugeRows)
				require.NoError(t, err)
				defer rows.Close()
				require.True(t, rows.Next())
				require.Equal(t, fmt.Sprint(hugeRows), r.value("SELECT count(*) FROM log WHERE k > 0"), "while its rows are open")
				n := 1
				for rows.Next() {
					n++
				}
				return fmt.Sprint(n, rows.Err())
			}}
			answers, members := r.asOne(neighbour(-1), streams, neighbour(-2))
			require.Equal(t, []string{"1 rows, <nil> <nil>", fmt.Sprint(hugeRows, " <nil>"), "1 rows, <nil> <nil>"}, answers)
			require.NotContains(t, members, huge)
			require.Equal(t, "2", r.value("SELECT count(*) FROM log"))
		})
	}
}

// A heardConn calls tell when so much has been read from it and the others.
type heardConn struct {
	net.Conn
	left *atomic.Int64
	tell func()
}

func (c heardConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if left := c.left.Add(-int64(n)); left <= 0 && left+int64(n) > 0 {
		c.tell()
	}
	return n, err
}

// A caller whose context ends while a group reads its many rows finds nothing committed. Behind the first row, the plain driver's cancel
// comes too late to undo anything.
func TestACancelWhileAGroupReadsManyRowsUndoesTheQuery(t *testing.T) {
	t.Parallel()
	for _, exec := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeSimpleProtocol} {
		t.Run(exec.String(), func(t *testing.T) {
			t.Parallel()
			r := setUp(t)
			ctx, cancel := context.WithCancel(background)
			defer cancel()
			var left atomic.Int64
			config, err := pgx.ParseConfig(r.dsn)
			require.NoError(t, err)
			config.DefaultQueryExecMode = exec
			config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, addr)
				return heardConn{conn, &left, cancel}, err
			}
			connector, err := groupcommit.NewConnector(stdlib.GetConnector(*config), groupcommit.OnGroup(r.observe), groupcommit.Mode(groupcommit.Transaction), groupcommit.Writers(1), learnsNothing())
			require.NoError(t, err)
			r.db = sql.OpenDB(connector)
			defer r.db.Close()
			r.fewThen(query(huge, 0), query(huge, 0))
			release := r.hold()
			wait := r.begun(neighbour(-1), step{huge, func(db *sql.DB) string {
				rows, err := db.QueryContext(ctx, huge, hugeRows)
				if err == nil {
					rows.Close()
				}
				return fmt.Sprint(err)
			}}, neighbour(-2))
			left.Store(100_000)
			release()
			require.Equal(t, []string{"1 rows, <nil> <nil>", context.Canceled.Error(), "1 rows, <nil> <nil>"}, wait())
			require.Error(t, ctx.Err())
			require.Equal(t, fmt.Sprint(hugeRows), r.value("SELECT count(*) FROM log WHERE k > 0"))
		})
	}
}

// A client that only writes and a server that only writes wait for each other for ever.
func TestAServerThatSendsManyRowsWhileALargeGroupIsWrittenIsHeard(t *testing.T) {
	t.Parallel()
	for _, mode := range largeModes[:2] {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := largeRig(t, mode)
			const before = "INSERT INTO rows (k) VALUES ($2) RETURNING repeat('x', $1)"
			const behind = "INSERT INTO rows (k) VALUES ($2) RETURNING repeat('y', $1)"
			steps := []step{query(before, 9_000_000, 10), query(before, 9_000_000, 11)}
			for _, c := range large(100) {
				steps = append(steps, execute("INSERT INTO rows (k, v) VALUES ($1 + 100::int, $2)", c.args...))
			}
			steps = append(steps, query(behind, 1_000_000, 20), query(behind, 1_000_000, 21))
			answers, members := r.asOne(steps...)
			for i, a := range answers {
				require.False(t, fails(a), "step %d", i)
			}
			require.Len(t, members, len(steps), "the groups: %v", r.sizes())
			require.Equal(t, "104", r.value("SELECT count(*) FROM rows"))
		})
	}
}
