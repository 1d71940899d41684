package pgx_test

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
)

// trips counts the round trips of all connections: how often a connection is written to after it was read. A client that
// needs no answer before it goes on writes on. answered counts those of which something was read.
type trips struct{ n, answered atomic.Int64 }

type countedConn struct {
	*net.TCPConn
	trips *trips
	read  atomic.Bool // since the last write
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if n > 0 && !c.read.Swap(true) {
		c.trips.answered.Add(1)
	}
	return n, err
}

func (c *countedConn) Write(b []byte) (int, error) {
	if c.read.Swap(false) {
		c.trips.n.Add(1)
	}
	return c.TCPConn.Write(b)
}

// counted is a rig whose round trips are counted.
func counted(t *testing.T, way []pgtest.DSNOption, opts ...groupcommit.Option) (countedRig, *trips) {
	r := setUpOn(t, pgtest.DSN(t), nil)
	config, c := countedConfig(t, pgtest.With(r.dsn, way...))
	another := func() *sql.DB {
		// A question about a group that is late goes by a connection of its own, which would be counted, too.
		opts := append(opts, groupcommit.OnGroup(r.observe), groupcommit.LockTimeout(0))
		connector, err := groupcommit.NewConnector(stdlib.GetConnector(*config), opts...)
		require.NoError(t, err)
		db := sql.OpenDB(connector)
		t.Cleanup(func() { db.Close() })
		return db
	}
	r.db, r.forgets = another(), false
	return countedRig{r, another}, c
}

// countedConfig is a way to a database on which round trips are counted.
func countedConfig(t *testing.T, dsn string) (*pgx.ConnConfig, *trips) {
	config, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	c := new(trips)
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &countedConn{TCPConn: conn.(*net.TCPConn), trips: c}, nil
	}
	return config, c
}

type countedRig struct {
	*rig
	another func() *sql.DB // the database for one more program
}

// of is how many round trips f takes.
func (c *trips) of(f func()) int {
	before := c.n.Load()
	f()
	return int(c.n.Load() - before)
}

// ofGroup is how many round trips the calls take, as one group, behind another call.
func (c *trips) ofGroup(r countedRig, calls ...call) (n int) {
	r.Helper()
	release := r.begin(calls...)
	return c.of(func() { r.good(release()) })
}

// newTexts are calls whose texts no connection knows.
func newTexts(n int) (calls []call) {
	for i := range n {
		calls = append(calls, call{fmt.Sprintf("INSERT INTO log (k) VALUES ($1) /* %d */", drivers.Add(1)), []any{i}})
	}
	return calls
}

func TestAGroupOfManyRowsTakesOneRoundTripMore(t *testing.T) {
	t.Parallel()
	r, c := counted(t, nil, alwaysMany(), groupcommit.ManyRows(true), groupcommit.Mode(groupcommit.Transaction), groupcommit.Writers(1))
	c.ofGroup(r, insert(0), insert(10)) // what a connection is asked once
	require.Equal(t, 4, c.ofGroup(r, logs(10)...), "the text and then its statements of many rows are prepared")
	require.Equal(t, 2, c.ofGroup(r, logs(100)...))
	require.Equal(t, 1, c.ofGroup(r, logs(2)...), "too few")
	require.Equal(t, 2, c.ofGroup(r, append(logs(5), insert(1))...))
}

func TestManyRowsCostIDsNoRoundTripMore(t *testing.T) {
	t.Parallel()
	r, c := counted(t, nil, alwaysMany(), groupcommit.ManyRows(true), groupcommit.Promises(), groupcommit.Mode(groupcommit.Transaction), groupcommit.Writers(1))
	ofNamed := func(calls ...named) int {
		release := r.beginNamed(calls...)
		return c.of(func() { require.Equal(t, all(done, len(calls)), release()) })
	}
	ofNamed(ids(inserts(0, 10))...)
	require.Equal(t, 2, ofNamed(ids(inserts(0, 110))[10:]...))
	require.Equal(t, 11, r.usedMany(insert(0).query))
}

// A farConn is a connection whose answers come after a while, and then all at once.
type farConn struct {
	net.Conn
	asked atomic.Bool // it was written to since it was read
}

const far = 20 * time.Millisecond

func (c *farConn) Write(b []byte) (int, error) {
	c.asked.Store(true)
	return c.Conn.Write(b)
}

func (c *farConn) Read(b []byte) (int, error) {
	if c.asked.Swap(false) {
		time.Sleep(far)
	}
	return c.Conn.Read(b)
}

// For as long as the way to the server and back, waiting for another caller pays.
func TestAGroupPaysTheWayToTheServerWithItsCommit(t *testing.T) {
	t.Parallel()
	r := setUpOn(t, pgtest.DSN(t), nil)
	config, err := pgx.ParseConfig(r.dsn)
	require.NoError(t, err)
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &farConn{Conn: conn}, err
	}
	connector, err := groupcommit.NewConnector(stdlib.GetConnector(*config), groupcommit.OnGroup(r.observe), groupcommit.Mode(groupcommit.Transaction), groupcommit.Writers(1))
	require.NoError(t, err)
	r.db = sql.OpenDB(connector)
	defer r.db.Close()
	r.good(r.together(logs(3)...))
	commits := r.stats().Commits
	require.EqualValues(t, 1, commits.Count())
	require.Greater(t, time.Duration(commits.Sum()), far*9/10)
}

func TestAGroupTakesOneRoundTripAndOneMoreForTextsThatAreNew(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"transaction", "autocommit"} {
		for exec, forNew := range map[string]int{"cache_statement": 1, "cache_describe": 1, "exec": 0} {
			t.Run(mode+"/"+exec, func(t *testing.T) {
				// No session asks about functions in a mode that is chosen.
				way := []pgtest.DSNOption{pgtest.Param("default_query_exec_mode", exec), pgtest.Param("statement_cache_capacity", "32"), pgtest.Param("description_cache_capacity", "32")}
				m := map[string]groupcommit.GroupMode{"transaction": groupcommit.Transaction, "autocommit": groupcommit.Autocommit}[mode]
				r, c := counted(t, way, groupcommit.Mode(m), groupcommit.Writers(1))
				c.ofGroup(r, logs(2)...) // what a connection is asked once
				require.Equal(t, 1, c.ofGroup(r, logs(2)...), "two calls")
				require.Equal(t, 1, c.ofGroup(r, logs(100)...), "a hundred calls")
				require.Equal(t, 1+forNew, c.ofGroup(r, append(newTexts(1), logs(3)...)...), "a new text")
				require.Equal(t, 1, c.ofGroup(r, call{"INSERT INTO log (k) VALUES (7) /* new */", nil}, call{"INSERT INTO log (k) VALUES (8)", nil}), "new texts without arguments")
				for range 3 { // more than the cache has room for
					require.Equal(t, 1+forNew, c.ofGroup(r, newTexts(64)...), "64 new texts")
				}
			})
		}
	}
}

func TestATextThatTheServerRefusesCostsItsNeighboursNoRoundTrip(t *testing.T) {
	t.Parallel()
	r, c := counted(t, nil, groupcommit.Mode(groupcommit.Transaction), groupcommit.Writers(1))
	c.ofGroup(r, logs(2)...)
	r.exec(r.plain, "DELETE FROM log")
	missing := call{"INSERT INTO missing (k) VALUES ($1)", []any{1}}
	texts := newTexts(5)
	release := r.begin(append(texts[:3:3], append([]call{missing}, texts[3:]...)...)...)
	var got []answer
	n := c.of(func() { got = release() })
	r.good(got, 3)
	r.sameError(missing, got[3].err)
	require.Equal(t, 2+1, n, "of the group, and of the call that runs alone")
	r.once(5)
}

func TestIDsTakeOneRoundTripMore(t *testing.T) {
	t.Parallel()
	for _, exec := range []string{"cache_statement", "cache_describe", "exec"} {
		t.Run(exec, func(t *testing.T) {
			r, c := counted(t, []pgtest.DSNOption{pgtest.Param("default_query_exec_mode", exec)},
				groupcommit.Promises(), groupcommit.Mode(groupcommit.Transaction), groupcommit.Writers(1))
			next := 0
			fresh := func(n int) (calls []named) {
				for range n {
					next++
					calls = append(calls, named{fmt.Sprint("id ", next), logged(next)})
				}
				return calls
			}
			ofNamed := func(want outcome, calls ...named) int {
				release := r.beginNamed(calls...)
				return c.of(func() { require.Equal(t, all(want, len(calls)), release()) })
			}
			ofNamed(done, fresh(2)...)
			require.Equal(t, 2, ofNamed(done, fresh(2)...), "two calls")
			require.Equal(t, 2, ofNamed(done, fresh(64)...), "64 calls")
			alone := func(c named) { require.Equal(t, done, execID(background, r.db, c)) }
			alone(fresh(1)[0])
			require.Equal(t, 2, c.of(func() { alone(fresh(1)[0]) }), "a lone call")
			r.once(next)

			// Another program comes with ids that are there, and then with new ones.
			r.db = r.another()
			ofNamed(done, fresh(2)...)
			require.Equal(t, 4, ofNamed(doneBefore, named{"id 1", logged(1)}, named{"id 2", logged(2)}), "two that are there")
			require.Equal(t, 3, ofNamed(doneBefore, named{"id 3", logged(3)}, named{"id 4", logged(4)}), "and two more")
			require.Equal(t, 3, ofNamed(done, fresh(2)...), "new ones behind them")
			require.Equal(t, 2, ofNamed(done, fresh(2)...), "and again")
			r.once(next)
		})
	}
}

// seen are the texts that a tracer of the program's has seen.
type seen struct {
	mu    sync.Mutex
	texts []string
}

func (s *seen) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.texts = append(s.texts, d.SQL)
	return ctx
}

func (s *seen) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestATracerSeesALoneCallThatHasAnID(t *testing.T) {
	t.Parallel()
	r := ledgerRig(t)
	config, err := pgx.ParseConfig(r.dsn)
	require.NoError(t, err)
	tracer := new(seen)
	config.Tracer = tracer
	connector, err := groupcommit.NewConnector(stdlib.GetConnector(*config), groupcommit.Promises())
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	defer db.Close()
	require.Equal(t, done, execID(background, db, named{"a", logged(1)}))
	require.Contains(t, tracer.texts, logged(1).query)
}

// A tracer may need what only the context of a caller has.
func TestATracerSeesNoQuestionOfOurs(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	config, err := pgx.ParseConfig(r.dsn)
	require.NoError(t, err)
	tracer := new(seen)
	config.Tracer = tracer
	connector, err := groupcommit.NewConnector(stdlib.GetConnector(*config), groupcommit.Writers(1), groupcommit.OnGroup(r.observe))
	require.NoError(t, err)
	r.db = sql.OpenDB(connector)
	defer r.db.Close()
	r.good(r.together(logs(10)...))
	tracer.mu.Lock()
	defer tracer.mu.Unlock()
	require.NotEmpty(t, tracer.texts)
	for _, text := range tracer.texts {
		require.Equal(t, "DELETE FROM log WHERE k = -1", text, "the lone call that has held the group")
	}
}
