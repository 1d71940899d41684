package physical

import (
	"context"
	"database/sql/driver"
	"errors"
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
	closed atomic.Int64

	connect func(context.Context) error // called for each connection; nil: none fails
	reset   func(context.Context) error // called before each use but the first
	close   func()                      // called after each
}

func (s *server) Connect(ctx context.Context) (driver.Conn, error) {
	if s.connect != nil {
		if err := s.connect(ctx); err != nil {
			return nil, err
		}
	}
	s.opened.Add(1)
	return &serverConn{s, s.epoch.Load()}, nil
}

func (s *server) live() int64 { return s.opened.Load() - s.closed.Load() }

func (s *server) Driver() driver.Driver { return nil }

type serverConn struct {
	server *server
	epoch  int64
}

func (c *serverConn) Prepare(string) (driver.Stmt, error) { return nil, driver.ErrSkip }
func (c *serverConn) Begin() (driver.Tx, error)           { return nil, driver.ErrSkip }
func (c *serverConn) IsValid() bool                       { return c.epoch == c.server.epoch.Load() }

func (c *serverConn) Close() error {
	c.server.closed.Add(1)
	if c.server.close != nil {
		c.server.close()
	}
	return nil
}

func (c *serverConn) ResetSession(ctx context.Context) error {
	if c.server.reset != nil {
		return c.server.reset(ctx)
	}
	return nil
}

var errNoRoom = errors.New("too many connections")

// pool has as many connections as there are seats, and at most as many as said; 0 is no other bound.
func (s *server) pool(t *testing.T, most int) *Pool {
	p := New(Config{
		Connector: s,
		Open: func(ctx context.Context, raw driver.Conn) (engine.Session, error) {
			return engine.Find(raw, nil).Open(ctx, raw, engine.Settings{})
		},
		TakeTurn: func(context.Context) (func(), error) { return func() {}, nil },
		NoRoom:   func(err error) bool { return errors.Is(err, errNoRoom) },
		Most:     most,
	})
	t.Cleanup(func() {
		assert.NoError(t, p.Close())
		assert.Zero(t, s.live(), "a connection was never closed")
		assert.Zero(t, p.Stats().OpenConnections)
	})
	return p
}

// seated is a pool of a program whose own pool has n connections, and keeps them.
func (s *server) seated(t *testing.T, n int) *Pool {
	p := s.pool(t, 0)
	p.Kept()
	sit(p, n)
	return p
}

func sit(p *Pool, n int) []*Seat {
	seats := make([]*Seat, n)
	for i := range seats {
		seats[i] = new(Seat)
		p.Join(seats[i])
	}
	return seats
}

func take(t *testing.T, p *Pool, writing bool) Lease {
	t.Helper()
	l, err := p.Borrow(t.Context(), Use{Writing: writing})
	require.NoError(t, err)
	return l
}

// borrowing borrows in another goroutine, of a synctest bubble, and returns when that has a connection or waits for one.
func borrowing(p *Pool, ctx context.Context, u Use) *borrower {
	b := new(borrower)
	b.ended.Go(func() {
		b.lease, b.err = p.Borrow(ctx, u)
		b.has.Store(b.err == nil)
	})
	synctest.Wait()
	return b
}

type borrower struct {
	ended sync.WaitGroup
	has   atomic.Bool
	lease Lease
	err   error
}

func (b *borrower) giveBack() {
	b.ended.Wait()
	b.lease.GiveBack(false)
	synctest.Wait()
}

func TestBesideReadersTheConnectionThatWroteLastWritesNext(t *testing.T) {
	s := new(server)
	p := s.seated(t, 3)
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
	assert.Zero(t, p.Stats().InUse)
	assert.EqualValues(t, 3, s.opened.Load())
}

func TestABorrowerThatIsAloneHasTheConnectionThatWasUsedLast(t *testing.T) {
	s := new(server)
	p := s.seated(t, 2)
	a, b := take(t, p, false), take(t, p, true)
	last := a.Conn
	b.GiveBack(true)
	a.GiveBack(false)
	for i := range 6 {
		l := take(t, p, i%2 == 0)
		assert.Same(t, last, l.Conn)
		l.GiveBack(i%2 == 0)
	}
	assert.EqualValues(t, 2, s.opened.Load())
}

func TestAReaderTakesTheWritersConnectionBeforeANewOneIsOpened(t *testing.T) {
	s := new(server)
	p := s.seated(t, 3)
	reader, writer := take(t, p, false), take(t, p, true)
	writer.GiveBack(true)
	second := take(t, p, false)
	assert.EqualValues(t, 2, s.opened.Load())
	second.GiveBack(false)
	reader.GiveBack(false)
}

func TestAStaleConnectionIsReplaced(t *testing.T) {
	for name, restart := range map[string]func(*server, *Pool){
		"by the driver's word": func(s *server, _ *Pool) { s.reset = func(context.Context) error { return driver.ErrBadConn } },
		"by ours":              func(_ *server, p *Pool) { p.Renew() },
	} {
		t.Run(name, func(t *testing.T) {
			s := new(server)
			p := s.seated(t, 5)
			var all []Lease
			for range 5 {
				all = append(all, take(t, p, false))
			}
			for _, l := range all {
				l.GiveBack(false)
			}
			restart(s, p)
			take(t, p, false).GiveBack(false)
			assert.EqualValues(t, 6, s.opened.Load(), "after two that are stale a new one is opened")
			assert.EqualValues(t, 4, s.live(), "the others are left for later")
		})
	}
}

func TestAConnectionThatIsNotValidIsNotUsedAgain(t *testing.T) {
	s := new(server)
	p := s.seated(t, 1)
	l := take(t, p, false)
	s.epoch.Add(1)
	l.GiveBack(false)
	assert.Zero(t, s.live())
}

// Hooks of the program's run when a connection is opened, and before it is used again.
func TestAHookThatEndsItsGoroutineCostsNoRoom(t *testing.T) {
	for name, end := range map[string]func(){"by a panic": func() { panic("hook") }, "by Goexit": func() { <-ended() }} {
		t.Run(name, func(t *testing.T) {
			s := new(server)
			p := s.seated(t, 1)
			var fails bool
			hook := func(context.Context) error {
				if fails {
					end()
				}
				return nil
			}
			s.connect, s.reset = hook, hook
			for _, when := range []string{"while it is opened", "before it is used again"} {
				fails = true
				func() {
					defer func() { recover() }()
					p.Borrow(t.Context(), Use{})
				}()
				fails = false
				take(t, p, false).GiveBack(false)
				assert.Equal(t, 1, p.Stats().OpenConnections, when)
			}
			s.connect, s.reset = nil, nil
		})
	}
}

// ended is a channel that is closed, but a receiver of it panics: synctest and testing cannot bear a Goexit of their own.
func ended() chan int { panic("gone") }

type openerKey struct{}

// Hooks have seen the context of the caller that opens the database.
func TestAConnectionThatIsHandedOverIsItsOpenersAlone(t *testing.T) {
	s := new(server)
	p := s.pool(t, 0)
	sit(p, 2)
	opener := context.WithValue(t.Context(), openerKey{}, "opener")
	l, err := p.Borrow(opener, Use{})
	require.NoError(t, err)
	l.HandOver(opener)
	another := take(t, p, true)
	assert.NotSame(t, l.Conn, another.Conn)
	own, err := p.Borrow(opener, Use{})
	require.NoError(t, err)
	assert.Same(t, l.Conn, own.Conn)
	another.GiveBack(false)
	own.GiveBack(false)
	assert.Zero(t, s.live(), "the program's pool has kept nothing yet")
}

// Without room for another, the opener must not be waited for: its use may never come.
func TestAConnectionThatIsHandedOverMakesPlaceForAnother(t *testing.T) {
	s := new(server)
	p := s.pool(t, 1)
	sit(p, 2)
	opener := context.WithValue(t.Context(), openerKey{}, "opener")
	l, err := p.Borrow(opener, Use{})
	require.NoError(t, err)
	l.HandOver(opener)
	another := take(t, p, true)
	assert.NotSame(t, l.Conn, another.Conn, "a hook has seen another context")
	assert.EqualValues(t, 1, s.live())
	another.GiveBack(false)
}

// While it is not known whether the program's pool keeps connections, each use may have to open one.
func TestAConnectionIsItsVirtualOnesAloneUntilTheProgramsPoolHasKeptOne(t *testing.T) {
	s := new(server)
	p := s.pool(t, 0)
	seats := sit(p, 2)
	borrow := func(seat *Seat) Lease {
		l, err := p.Borrow(t.Context(), Use{Seat: seat})
		require.NoError(t, err)
		return l
	}
	a := borrow(seats[0])
	a.GiveBack(false)
	b := borrow(seats[1])
	assert.NotSame(t, a.Conn, b.Conn, "another caller's hooks have prepared it")
	again := borrow(seats[0])
	assert.Same(t, a.Conn, again.Conn)
	again.GiveBack(false)
	b.GiveBack(false)
	p.Leave(seats[0])
	assert.EqualValues(t, 1, s.live(), "it has gone with its virtual connection")
	p.Kept()
	anyone := take(t, p, false)
	assert.Same(t, b.Conn, anyone.Conn)
	anyone.GiveBack(false)
}

func TestThereAreNoMoreConnectionsThanSeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(server)
		p := s.pool(t, 0)
		p.Kept()
		first := take(t, p, false)
		second := borrowing(p, t.Context(), Use{})
		assert.False(t, second.has.Load(), "one may be open without a seat, and no more")
		seats := sit(p, 1)
		synctest.Wait()
		assert.False(t, second.has.Load())
		seats = append(seats, sit(p, 2)...)
		synctest.Wait()
		assert.True(t, second.has.Load())
		second.giveBack()
		first.GiveBack(false)
		p.Leave(seats[0])
		assert.EqualValues(t, 2, s.live())
		p.Leave(seats[1])
		assert.EqualValues(t, 1, s.live())
		busy := take(t, p, false)
		p.Leave(seats[2])
		assert.EqualValues(t, 1, s.live())
		busy.GiveBack(false)
		assert.Zero(t, s.live(), "it came back when there was no seat for it")
	})
}

func TestAConnectionGrowsNoOlderThanTheOldestOfTheProgramsPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(server)
		p := s.seated(t, 0)
		old := sit(p, 2)
		a, b := take(t, p, false), take(t, p, false)
		a.GiveBack(false)
		time.Sleep(minAge / 2)
		sit(p, 2)
		time.Sleep(minAge)
		p.Leave(old[0])
		assert.EqualValues(t, 2, s.live(), "there is one as old")
		p.Leave(old[1])
		assert.EqualValues(t, 1, s.live())
		b.GiveBack(false)
		assert.Zero(t, s.live())
		assert.EqualValues(t, 2, p.Stats().MaxLifetimeClosed)
	})
}

// A pool that keeps two of many connections closes its own after milliseconds.
func TestAYoungConnectionStaysHoweverYoungTheProgramsAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(server)
		p := s.seated(t, 0)
		for range 1000 {
			seat := sit(p, 1)
			take(t, p, true).GiveBack(true)
			time.Sleep(minAge / 500)
			sit(p, 1)
			p.Leave(seat[0])
			if first := p.seats.first; p.seats.n > 1 {
				p.Leave(first)
			}
		}
		assert.LessOrEqual(t, s.opened.Load(), int64(4))
		assert.GreaterOrEqual(t, s.opened.Load(), int64(2), "it has outlived the program's own")
	})
}

func TestADatabaseThatLivesInItsConnectionKeepsIt(t *testing.T) {
	s := new(server)
	p := s.pool(t, 0)
	l := take(t, p, false)
	p.OnlyOne()
	l.GiveBack(false)
	seats := sit(p, 3)
	for _, seat := range seats {
		p.Leave(seat)
	}
	again := take(t, p, false)
	assert.Same(t, l.Conn, again.Conn)
	again.GiveBack(false)
	assert.EqualValues(t, 1, s.live())
}

func TestAnotherPoolsConnectionIsGivenBackAtOnce(t *testing.T) {
	s := new(server)
	p := s.seated(t, 3)
	p.KeepNone()
	take(t, p, false).GiveBack(false)
	assert.Zero(t, s.live())
}

func TestGroupsComeFirstButNotTwiceInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(server).seated(t, 1)
		holder := take(t, p, false)
		var order []string
		var all sync.WaitGroup
		for _, w := range []struct {
			name string
			of   Purpose
		}{{"query 1", Program}, {"put off", PutOff}, {"query 2", Program}, {"group 1", Group}, {"group 2", Group}} {
			all.Go(func() {
				l, err := p.Borrow(context.Background(), Use{For: w.of})
				if assert.NoError(t, err) {
					order = append(order, w.name) // the only connection guards it
					l.GiveBack(false)
				}
			})
			synctest.Wait()
		}
		holder.GiveBack(false)
		all.Wait()
		assert.Equal(t, []string{"group 1", "query 1", "group 2", "put off", "query 2"}, order)
	})
}

func TestCallsThatWerePutOffLeaveMoreThanAQuarterOfABoundedPool(t *testing.T) {
	for most, want := range map[int]int{1: 1, 2: 1, 3: 1, 4: 2, 8: 5, 10: 6, 0: 10} {
		synctest.Test(t, func(t *testing.T) {
			p := new(server).pool(t, most)
			p.Kept()
			sit(p, 10)
			var all []*borrower
			has := 0
			for range 10 {
				b := borrowing(p, t.Context(), Use{For: PutOff})
				all = append(all, b)
				if b.has.Load() {
					has++
				}
			}
			assert.Equal(t, want, has, "of %d", most)
			if most > 1 {
				take(t, p, true).GiveBack(true)
			}
			for _, b := range all {
				b.giveBack()
			}
		})
	}
}

func TestAWaiterWhoseContextEndsLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(server).seated(t, 1)
		holder := take(t, p, false)
		ctx, cancel := context.WithCancel(t.Context())
		gone, next := borrowing(p, ctx, Use{}), borrowing(p, t.Context(), Use{})
		cancel()
		gone.ended.Wait()
		assert.ErrorIs(t, gone.err, context.Canceled)
		holder.GiveBack(false)
		next.giveBack()
		assert.NoError(t, next.err)
		assert.EqualValues(t, 2, p.Stats().WaitCount)
	})
}

func TestCloseEndsTheWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(server)
		p := s.seated(t, 1)
		holder := take(t, p, false)
		waiting := borrowing(p, t.Context(), Use{})
		require.NoError(t, p.Close())
		waiting.ended.Wait()
		assert.EqualError(t, waiting.err, "sql: database is closed")
		_, err := p.Borrow(t.Context(), Use{})
		assert.EqualError(t, err, "sql: database is closed")
		assert.EqualValues(t, 1, s.live(), "Close has waited for what is in use")
		holder.GiveBack(false)
		assert.Zero(t, s.live())
	})
}
