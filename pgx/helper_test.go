package pgx_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/groupcommit/groupcommit/pgx"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
)

var background = context.Background()

// rig is a database of ours, and the plain driver's look at it.
type rig struct {
	*testing.T
	dsn   string
	db    *sql.DB
	plain *sql.DB

	gate atomic.Pointer[gate] // where the next group waits after its commit
	mu   sync.Mutex
	size []int    // of each group
	told []string // the texts of the calls of those that have several

	forget  func() // opens db anew, so that what a program remembers is not used
	forgets bool   // before each group of calls with ids

	queuedNow int // how many calls begin has put in the queue

	pipelines bool // groups go by the autocommit pipeline
}

type gate struct {
	there, opened chan struct{}
	open          func()
}

var drivers atomic.Int64

// sideBySide is for a rig that need not know which calls are one group: groups run beside each other, as for a program.
var sideBySide = groupcommit.Writers(1000)

// learnsNothing is for a test whose calls are to be in a group, although the machine may make them look slow.
func learnsNothing() groupcommit.Option { return groupcommit.WithEngine(pgx.Fixed()) }

// setUp makes a database with the tables: rows, whose key is unique; log, where a row that was written twice shows.
func setUp(t *testing.T, opts ...groupcommit.Option) *rig {
	return setUpOn(t, pgtest.DSN(t), nil, opts...)
}

// setUpOn is setUp on a database that is there, with a way to it of our own.
func setUpOn(t *testing.T, dsn string, via []pgtest.DSNOption, opts ...groupcommit.Option) *rig {
	t.Helper()
	bounded.Test(t)
	r := &rig{T: t, dsn: dsn, forgets: true}
	r.plain = r.open("pgx", dsn)
	for _, q := range []string{
		"CREATE TABLE rows (k BIGINT PRIMARY KEY, v TEXT)",
		"CREATE TABLE log (k BIGINT NOT NULL)",
	} {
		_, err := r.plain.Exec(q)
		require.NoError(t, err)
	}
	name := fmt.Sprintf("pgx-groupcommit-test-%d", drivers.Add(1))
	groupcommit.Register(name, stdlib.GetDefaultDriver(), append([]groupcommit.Option{groupcommit.OnGroup(r.observe), groupcommit.Writers(1)}, opts...)...)
	r.db = r.open(name, pgtest.With(dsn, via...))
	r.forget = func() {
		require.NoError(r, r.db.Close())
		r.db = r.open(name, pgtest.With(dsn, via...))
	}
	return r
}

func (r *rig) open(driverName, dsn string) *sql.DB {
	r.Helper()
	db, err := sql.Open(driverName, dsn)
	require.NoError(r, err)
	r.Cleanup(func() { bounded.Wait(r, "the database is closed", func() { db.Close() }) })
	return db
}

func (r *rig) observe(info groupcommit.GroupInfo) {
	if info.Reason == groupcommit.PutOff { // its group has told of it
		return
	}
	r.mu.Lock()
	r.size = append(r.size, len(info.Calls))
	if len(info.Calls) > 1 { // or else it is by itself, whatever road it takes
		for _, c := range info.Calls {
			r.told = append(r.told, c.Query)
		}
	}
	r.mu.Unlock()
	if info.Took >= leadKept { // it may have handed on the lead, and so holds nobody
		return
	}
	if g := r.gate.Swap(nil); g != nil {
		close(g.there)
		<-g.opened
	}
}

func (r *rig) exec(db *sql.DB, query string, args ...any) {
	r.Helper()
	_, err := db.Exec(query, args...)
	require.NoError(r, err, query)
}

// value is the one value of a query.
func (r *rig) value(query string, args ...any) string {
	r.Helper()
	var v sql.NullString
	require.NoError(r, r.plain.QueryRow(query, args...).Scan(&v), query)
	return v.String
}

// call is an Exec of our database.
type call struct {
	query string
	args  []any
}

type answer struct {
	rows    int64
	rowsErr error
	err     error
}

func insert(k int) call { return call{"INSERT INTO rows (k, v) VALUES ($1, $2)", []any{k, "v"}} }
func logged(k int) call { return call{"INSERT INTO log (k) VALUES ($1)", []any{k}} }

func inserts(from, n int) (calls []call) {
	for i := range n {
		calls = append(calls, insert(from+i))
	}
	return calls
}

// leadKept is for how long a lone call is certain to keep the lead.
const leadKept = 100 * time.Millisecond

// hold keeps groups from beginning until release is called.
func (r *rig) hold() (release func()) {
	r.Helper()
	g := &gate{there: make(chan struct{}), opened: make(chan struct{})}
	g.open = sync.OnceFunc(func() { close(g.opened) })
	r.Cleanup(g.open) // closing the database waits for the group
	r.gate.Store(g)
	for {
		plug := groupcommit.Go(background, r.db, "DELETE FROM log WHERE k = -1")
		select {
		case <-g.there:
			return func() { g.open(); bounded.Receive(r, "the group that was held has ended", plug.Done()) }
		case <-plug.Done():
			_, err := plug.Await(background)
			require.NoError(r, err, "nothing can be held")
		}
	}
}

// promisesOfOne are those of calls that run as one group, in their order.
func (r *rig) promisesOfOne(calls []call) (promises []*groupcommit.Promise) {
	r.Helper()
	release := r.hold()
	for _, c := range calls {
		promises = append(promises, groupcommit.Go(background, r.db, c.query, c.args...))
	}
	release()
	return promises
}

// begin queues the calls, in this order, as one group. Its answers come after release.
func (r *rig) begin(calls ...call) (release func() []answer) {
	r.Helper()
	free := r.hold()
	answers := make([]answer, len(calls))
	var done sync.WaitGroup
	var apart atomic.Int64 // calls that go another way
	for i, c := range calls {
		done.Go(func() { answers[i] = r.do(c); apart.Add(1) })
		r.eventually("the call is queued", func() bool { return r.stats().Queued+int(apart.Load()) == i+1 })
	}
	r.queuedNow = r.stats().Queued
	return func() []answer {
		free()
		bounded.Wait(r, "the calls are answered", done.Wait)
		return answers
	}
}

func (r *rig) together(calls ...call) []answer {
	r.Helper()
	release := r.begin(calls...)
	before := len(r.sizes())
	got := release()
	require.Contains(r, r.sizes()[before:], r.queuedNow, "the calls were not one group")
	return got
}

func (r *rig) sizes() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]int(nil), r.size...)
}

func (r *rig) do(c call) (a answer) {
	res, err := r.db.ExecContext(background, c.query, c.args...)
	if a.err = err; err == nil {
		a.rows, a.rowsErr = res.RowsAffected()
	}
	return a
}

func (r *rig) stats() groupcommit.Stats {
	r.Helper()
	st, err := groupcommit.StatsOf(r.db)
	require.NoError(r, err)
	return st
}

func (r *rig) queued(n int) {
	r.Helper()
	r.eventually(fmt.Sprintf("%d calls are queued", n), func() bool { return r.stats().Queued == n })
}

func (r *rig) eventually(what string, holds func() bool) {
	r.Helper()
	bounded.Until(r, what, holds)
}

// good requires each call but those named to have affected one row.
func (r *rig) good(got []answer, but ...int) {
	r.Helper()
	bad := make(map[int]bool)
	for _, i := range but {
		bad[i] = true
	}
	for i, a := range got {
		if !bad[i] {
			require.Equal(r, answer{rows: 1}, a, "call %d", i)
		}
	}
}

// plainError is what the plain driver says to a call.
func (r *rig) plainError(c call) error {
	r.Helper()
	_, err := r.plain.Exec(c.query, c.args...)
	require.Error(r, err, "%s %v", c.query, c.args)
	return err
}

func (r *rig) sameError(c call, got error) {
	r.Helper()
	want := r.plainError(c)
	require.EqualError(r, got, want.Error(), "%s %v", c.query, c.args)
	require.IsType(r, want, got)
	require.Equal(r, sqlState(want), sqlState(got))
}

func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// proxied is a rig whose database is reached through a proxy.
func proxied(t *testing.T, opts ...groupcommit.Option) (*rig, *proxy.Proxy) {
	dsn := pgtest.DSN(t)
	p, err := proxy.New(pgtest.Shared(t).Addr())
	require.NoError(t, err)
	r := setUpOn(t, dsn, []pgtest.DSNOption{pgtest.Via(p.Addr())}, opts...)
	t.Cleanup(func() { p.Close() })
	t.Cleanup(func() { r.db.Close() })
	return r, p
}
