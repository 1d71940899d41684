package physical

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// server is a database whose connections do nothing. It counts them.
type server struct {
	opened atomic.Int64
	epoch  atomic.Int64 // connections of an earlier one are stale
}

func (s *server) Connect(context.Context) (driver.Conn, error) {
	s.opened.Add(1)
	return &serverConn{s, s.epoch.Load()}, nil
}

func (s *server) Driver() driver.Driver { return nil }

type serverConn struct {
	server *server
	epoch  int64
}

func (c *serverConn) Prepare(string) (driver.Stmt, error) { return nil, driver.ErrSkip }
func (c *serverConn) Begin() (driver.Tx, error)           { return nil, driver.ErrSkip }
func (c *serverConn) Close() error                        { return nil }
func (c *serverConn) IsValid() bool                       { return c.epoch == c.server.epoch.Load() }

func (s *server) pool(t *testing.T, setUp func(*sql.DB)) *Pool {
	p := New(Config{
		Connector: s,
		Open: func(ctx context.Context, raw driver.Conn) (engine.Session, error) {
			return engine.Find(raw, nil).Open(ctx, raw, engine.Settings{})
		},
		TakeTurn: func(context.Context) (func(), error) { return func() {}, nil },
		SetUp:    setUp,
	})
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	return p
}

// poolOf is a pool that keeps connections, of a database that has one writer.
func (s *server) poolOf(t *testing.T) *Pool {
	p := s.pool(t, nil)
	p.KeepWarm(1)
	p.MayKeep()
	return p
}

func take(t *testing.T, p *Pool, writing bool) Lease {
	t.Helper()
	l, err := p.Borrow(t.Context(), writing)
	require.NoError(t, err)
	return l
}

func TestBesideReadersTheConnectionThatWroteLastWritesNext(t *testing.T) {
	s := new(server)
	p := s.poolOf(t)
	idle, reader, writer := take(t, p, false), take(t, p, false), take(t, p, true)
	wrote := writer.Conn
	writer.GiveBack(true)
	idle.GiveBack(false) // was used last, and would be next
	again := take(t, p, true)
	assert.Same(t, wrote, again.Conn)
	again.GiveBack(true)
	other := take(t, p, false)
	assert.NotSame(t, wrote, other.Conn, "a reader has taken what the writer needs")
	other.GiveBack(false)
	reader.GiveBack(false)
	assert.Zero(t, p.warm.n.Load(), "no connection is in use")
	assert.Zero(t, p.Stats().InUse)
	assert.EqualValues(t, 3, s.opened.Load())
}

func TestABorrowerThatIsAloneHasTheConnectionThatWasUsedLast(t *testing.T) {
	s := new(server)
	p := s.poolOf(t)
	a, b := take(t, p, false), take(t, p, true)
	last := a.Conn
	b.GiveBack(true)
	a.GiveBack(false)
	for i := range 6 {
		l := take(t, p, i%2 == 0)
		if i > 0 {
			assert.Same(t, last, l.Conn)
		}
		last = l.Conn
		l.GiveBack(i%2 == 0)
	}
	assert.EqualValues(t, 2, s.opened.Load())
}

func TestAReaderTakesTheWritersConnectionBeforeANewOneIsOpened(t *testing.T) {
	s := new(server)
	p := s.poolOf(t)
	reader, writer := take(t, p, false), take(t, p, true)
	writer.GiveBack(true)
	assert.Equal(t, int64(1), p.warm.n.Load())
	second := take(t, p, false)
	assert.EqualValues(t, 2, s.opened.Load())
	second.GiveBack(false)
	reader.GiveBack(false)
}

func TestNoConnectionIsKeptFromABorrowerThatMayBeWaitingForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(server).pool(t, func(db *sql.DB) { db.SetMaxOpenConns(2) })
		p.KeepWarm(1)
		reader, writer := take(t, p, false), take(t, p, true)
		var waiting sync.WaitGroup
		waiting.Go(func() {
			l, err := p.Borrow(context.Background(), false)
			if assert.NoError(t, err) {
				l.GiveBack(false)
			}
		})
		synctest.Wait()
		start := time.Now()
		writer.GiveBack(true)
		waiting.Wait()
		assert.Zero(t, time.Since(start), "by the bubble's clock: it has waited until the connection was kept for long enough")
		reader.GiveBack(false)
	})
}

func TestAConnectionThatWentStaleWhileItWasKeptIsReplaced(t *testing.T) {
	for name, restart := range map[string]func(*server, *Pool){
		"by the driver's word": func(s *server, _ *Pool) { s.epoch.Add(1) },
		"by ours":              func(_ *server, p *Pool) { p.Renew() },
	} {
		t.Run(name, func(t *testing.T) {
			s := new(server)
			p := s.poolOf(t)
			reader, writer := take(t, p, false), take(t, p, true)
			writer.GiveBack(true)
			restart(s, p)
			again := take(t, p, true)
			assert.NotSame(t, writer.Conn, again.Conn)
			again.GiveBack(false)
			reader.GiveBack(false)
		})
	}
}

// A LISTEN, say, keeps its connection for as long as the program runs.
func TestABorrowerThatIsBusyForEverKeepsNoIdleConnectionFromThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(server).poolOf(t)
		forever, writer := take(t, p, false), take(t, p, true)
		writer.GiveBack(true)
		require.Equal(t, int64(1), p.warm.n.Load())
		time.Sleep(2 * warmFor)
		synctest.Wait()
		assert.Zero(t, p.warm.n.Load())
		assert.Equal(t, 1, p.Stats().Idle, "lifetimes hold for it")
		forever.GiveBack(false)
	})
}

// While it is not known whether the program's pool keeps connections, a lease that is over is its owner's alone.
func TestARetainedConnectionIsItsOwnersUntilConnectionsMayBeIdle(t *testing.T) {
	s := new(server)
	p := s.pool(t, nil)
	a, b := new(int), new(int)
	l := take(t, p, false)
	p.Retain(a, l)
	_, ok := p.TakeRetained(b)
	assert.False(t, ok, "another owner has taken it")
	again, ok := p.TakeRetained(a)
	require.True(t, ok)
	assert.Same(t, l.Conn, again.Conn)
	_, ok = p.TakeRetained(a)
	assert.False(t, ok, "it is lent twice")
	p.Retain(a, again)
	p.MayKeep()
	_, ok = p.TakeRetained(a)
	assert.False(t, ok, "it is every borrower's now")
	assert.Equal(t, 1, p.Stats().Idle)
}

// Hooks have seen the context of the caller that opens the database.
func TestAConnectionThatIsHandedOverIsItsOpenersAlone(t *testing.T) {
	s := new(server)
	p := s.pool(t, nil)
	other := take(t, p, false) // or else the last one to leave would leave nothing warm
	opener := context.WithValue(t.Context(), inTurnKey{}, "opener")
	l, err := p.Borrow(opener, false)
	require.NoError(t, err)
	l.HandOver(opener)
	another := take(t, p, true)
	assert.NotSame(t, l.Conn, another.Conn)
	own, err := p.Borrow(opener, false)
	require.NoError(t, err)
	assert.Same(t, l.Conn, own.Conn)
	for _, l := range []Lease{other, another, own} {
		l.GiveBack(false)
	}
	assert.Zero(t, p.Stats().InUse)
}
