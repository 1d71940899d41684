package proxy_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

// rig is a table t(i) in a database of the test's own, a way around the proxy and a way through it.
type rig struct {
	*testing.T
	proxy   *proxy.Proxy
	through string // a DSN
	around  *pgx.Conn
}

func setUp(t *testing.T) rig {
	t.Helper()
	bounded.Test(t)
	dsn := pgtest.DSN(t)
	p, err := proxy.New(pgtest.Shared(t).Addr())
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	r := rig{t, p, pgtest.With(dsn, pgtest.Via(p.Addr())), nil}
	r.around = r.connect(dsn)
	_, err = r.around.Exec(deadline(t), "CREATE TABLE t (i int)")
	must(t, err)
	return r
}

func (r rig) connect(dsn string) *pgx.Conn {
	r.Helper()
	conn, err := pgx.Connect(deadline(r.T), dsn)
	must(r.T, err)
	r.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func (r rig) rows() (n int) {
	r.Helper()
	must(r.T, r.around.QueryRow(deadline(r.T), "SELECT count(*) FROM t").Scan(&n))
	return n
}

// wantRows waits, as the server may be busy when its client has lost it already.
func (r rig) wantRows(n int) {
	r.Helper()
	bounded.Until(r, fmt.Sprintf("there are %d rows", n), func() bool { return r.rows() == n })
}

// wantIdle waits until no other client of the database has a transaction open, whatever became of it.
func (r rig) wantIdle() {
	r.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var n int
		must(r.T, r.around.QueryRow(deadline(r.T), "SELECT count(*) FROM pg_stat_activity WHERE xact_start IS NOT NULL "+
			"AND datname = current_database() AND pid <> pg_backend_pid()").Scan(&n))
		if n == 0 {
			return
		}
		if time.Now().After(end) {
			r.Fatalf("%d transactions stay open", n)
		}
	}
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWithoutFaultsEverythingPasses(t *testing.T) {
	r := setUp(t)
	conn := r.connect(r.through)
	batch := &pgx.Batch{}
	for i := range 1000 {
		batch.Queue("INSERT INTO t VALUES ($1)", i)
	}
	must(t, conn.SendBatch(deadline(t), batch).Close())
	n, err := conn.CopyFrom(deadline(t), pgx.Identifier{"t"}, []string{"i"},
		pgx.CopyFromSlice(100_000, func(i int) ([]any, error) { return []any{i}, nil }))
	if n != 100_000 || err != nil {
		t.Errorf("copied %d, %v", n, err)
	}
	long := strings.Repeat("x", 3<<20)
	var echo string
	must(t, conn.QueryRow(deadline(t), "SELECT $1::text", long).Scan(&echo))
	if echo != long {
		t.Errorf("%d bytes came back of %d", len(echo), len(long))
	}
	if _, err := conn.Exec(deadline(t), "SELECT 1/0"); err == nil || !strings.Contains(err.Error(), "22012") {
		t.Errorf("error %v", err)
	}
	r.wantRows(101_000)
	must(t, conn.Close(deadline(t)))
	for r.proxy.Conns() > 0 {
		time.Sleep(time.Millisecond)
	}
}

func TestAClientThatPrefersTLSIsServedWithout(t *testing.T) {
	r := setUp(t)
	must(t, r.connect(pgtest.With(r.through, pgtest.Param("sslmode", "prefer"))).Ping(deadline(t)))
}

func TestTheServersSocketIsATargetToo(t *testing.T) {
	r := setUp(t)
	socket := pgtest.Shared(t).Socket()
	if socket == "" {
		t.Skip(pgtest.ErrExternal)
	}
	p, err := proxy.New(socket)
	must(t, err)
	defer p.Close()
	must(t, r.connect(pgtest.With(r.through, pgtest.Via(p.Addr()))).Ping(deadline(t)))
}

func TestACancelRequestPassesAndCanBeLost(t *testing.T) {
	r := setUp(t)
	conn := r.connect(r.through)
	lost := make(chan struct{}, 1)
	r.proxy.OnClient(func(m proxy.Message) proxy.Action {
		if m.Cancel() {
			lost <- struct{}{}
			r.proxy.OnClient(nil) // the first only
			return proxy.Cut
		}
		return proxy.Pass
	})
	failed := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), "SELECT pg_sleep(60)")
		failed <- err
	}()
	conn.PgConn().CancelRequest(deadline(t))
	bounded.Receive(t, "the connection is lost", lost)
	// The server may get the request before the query, and then forgets it.
	for {
		must(t, conn.PgConn().CancelRequest(deadline(t)))
		select {
		case err := <-failed:
			if err == nil || !strings.Contains(err.Error(), "57014") {
				t.Errorf("error %v", err)
			}
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestCutAllAndRefuse(t *testing.T) {
	r := setUp(t)
	conn := r.connect(r.through)
	r.proxy.CutAll()
	if err := conn.Ping(deadline(t)); err == nil {
		t.Error("a connection that was cut answers")
	}
	must(t, r.connect(r.through).Ping(deadline(t)))
	r.proxy.Refuse(true)
	if _, err := pgx.Connect(deadline(t), r.through); err == nil {
		t.Error("connected to a proxy that refuses")
	}
	r.proxy.Refuse(false)
	must(t, r.connect(r.through).Ping(deadline(t)))
}

func TestDropLosesOneMessage(t *testing.T) {
	r := setUp(t)
	r.proxy.OnServer(func(m proxy.Message) proxy.Action {
		if m.Type == 'N' && strings.Contains(string(m.Payload), "unwanted") {
			return proxy.Drop
		}
		return proxy.Pass
	})
	config, err := pgx.ParseConfig(r.through)
	must(t, err)
	var notices []string
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notices = append(notices, n.Message) }
	conn, err := pgx.ConnectConfig(deadline(t), config)
	must(t, err)
	defer conn.Close(deadline(t))
	_, err = conn.Exec(deadline(t), "DO $$ BEGIN RAISE NOTICE 'a'; RAISE NOTICE 'unwanted'; RAISE NOTICE 'b'; END $$")
	must(t, err)
	if got := strings.Join(notices, " "); got != "a b" {
		t.Errorf("notices %q", got)
	}
}

func TestDelayHoldsAMessageBack(t *testing.T) {
	const d = 50 * time.Millisecond
	r := setUp(t)
	conn := r.connect(r.through)
	r.proxy.OnClient(func(m proxy.Message) proxy.Action {
		if m.Type == 'Q' || m.Type == 'S' {
			return proxy.Delay(d)
		}
		return proxy.Pass
	})
	begin := time.Now()
	must(t, conn.Ping(deadline(t)))
	if took := time.Since(begin); took < d {
		t.Errorf("took %v", took)
	}
}

func TestADelayEndsWithItsConnection(t *testing.T) {
	r := setUp(t)
	conn := r.connect(r.through)
	waits := make(chan struct{}, 1)
	r.proxy.OnServer(func(m proxy.Message) proxy.Action {
		waits <- struct{}{}
		return proxy.Cut.After(time.Hour)
	})
	failed := make(chan error, 1)
	go func() { failed <- conn.Ping(context.Background()) }()
	bounded.Receive(t, "the server has answered", waits)
	must(t, r.proxy.Close())
	if err := bounded.Receive(t, "the client has lost its connection", failed); err == nil {
		t.Error("no error")
	}
}
