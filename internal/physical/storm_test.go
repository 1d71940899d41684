package physical

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A program is an sql.DB of connections that are seats.
type program struct {
	pool *Pool

	mu    sync.Mutex // guards the rest
	seats int
	conns int           // open, or being opened
	marks map[*int]bool // each the most seats that there were since a borrower came
}

type markKey struct{}

// marked makes a context for a borrower, whose connection is opened while there are seats, or opened when there were.
func (pr *program) marked(ctx context.Context) (context.Context, func()) {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	mark := pr.seats
	pr.marks[&mark] = true
	return context.WithValue(ctx, markKey{}, &mark), func() {
		pr.mu.Lock()
		defer pr.mu.Unlock()
		delete(pr.marks, &mark)
	}
}

func (pr *program) count(seats, conns int) (hasSeats, hasConns int) {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	pr.seats += seats
	pr.conns += conns
	for mark := range pr.marks {
		*mark = max(*mark, pr.seats)
	}
	return pr.seats, pr.conns
}

func newProgram(p *Pool) (*program, *sql.DB) {
	pr := &program{pool: p, marks: make(map[*int]bool)}
	db := sql.OpenDB(pr)
	p.Learn(db)
	return pr, db
}

func (pr *program) Driver() driver.Driver { return nil }
func (pr *program) Connect(context.Context) (driver.Conn, error) {
	c := &programConn{of: pr}
	pr.count(1, 0)
	pr.pool.Join(&c.seat)
	return c, nil
}

type programConn struct {
	of   *program
	seat Seat
}

func (c *programConn) Prepare(string) (driver.Stmt, error) { return nil, driver.ErrSkip }
func (c *programConn) Begin() (driver.Tx, error)           { return nil, driver.ErrSkip }
func (c *programConn) ResetSession(context.Context) error  { c.of.pool.Kept(); return nil }
func (c *programConn) Close() error {
	c.of.pool.Leave(&c.seat)
	c.of.count(-1, 0) // behind Leave, as database/sql counts
	return nil
}

// use borrows for a call of the program's.
func (pr *program) use(ctx context.Context, db *sql.DB, during func()) error {
	c, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	var seat *Seat
	c.Raw(func(dc any) error { seat = &dc.(*programConn).seat; return nil })
	l, err := pr.pool.Borrow(ctx, Use{Seat: seat})
	if err != nil {
		return err
	}
	during()
	l.GiveBack(false)
	return nil
}

func (pr *program) group(ctx context.Context, during func()) error {
	l, err := pr.pool.Borrow(ctx, Use{For: Group, Writing: true})
	if err != nil {
		return err
	}
	during()
	l.GiveBack(true)
	return nil
}

func TestAProgramOfGroupsAloneHasAConnectionForEachThatRuns(t *testing.T) {
	s := new(server)
	p := s.pool(t, 0)
	pr, db := newProgram(p)
	defer db.Close()
	var all sync.WaitGroup
	var in atomic.Int64
	together := make(chan struct{})
	for range 8 {
		all.Go(func() {
			assert.NoError(t, pr.group(t.Context(), func() {
				if in.Add(1) == 8 {
					close(together)
				}
				<-together
			}))
		})
	}
	bounded.Wait(t, "all run at the same time", all.Wait)
	bounded.Until(t, "there are as many as the program's pool keeps", func() bool { return s.live() <= 2 })
	opened := s.opened.Load()
	for range 5 {
		require.NoError(t, pr.group(t.Context(), func() {}))
	}
	assert.LessOrEqual(t, s.opened.Load(), opened+1)
}

func TestAGroupWithoutACallerHasNoMoreThanTheProgramsPoolMayHave(t *testing.T) {
	s := new(server)
	p := s.pool(t, 0)
	pr, db := newProgram(p)
	db.SetMaxOpenConns(1)
	defer db.Close()
	blocked, err := db.Conn(t.Context()) // a caller that waits in the queue behind the groups has it
	require.NoError(t, err)
	var all sync.WaitGroup
	var in atomic.Int64
	for range 16 {
		all.Go(func() {
			assert.NoError(t, pr.group(t.Context(), func() {
				assert.EqualValues(t, 1, in.Add(1))
				in.Add(-1)
			}))
		})
	}
	bounded.Wait(t, "the groups go on one after the other", all.Wait)
	require.NoError(t, blocked.Close())
}

// The caller that has opened the database may be in the queue behind this very group, with the pool's only connection.
func TestAGroupDoesNotWaitForTheCallerThatHasOpenedTheDatabase(t *testing.T) {
	s := new(server)
	p := s.pool(t, 0)
	pr, db := newProgram(p)
	db.SetMaxOpenConns(1)
	defer db.Close()
	c, err := db.Conn(t.Context())
	require.NoError(t, err)
	opener := context.WithValue(t.Context(), openerKey{}, "opener")
	l, err := p.Borrow(opener, Use{})
	require.NoError(t, err)
	l.HandOver(opener)
	bounded.Wait(t, "the group is served", func() { require.NoError(t, pr.group(t.Context(), func() {})) })
	assert.LessOrEqual(t, s.live(), int64(1))
	require.NoError(t, c.Close())
}

func TestWhereTheProgramsPoolKeepsNothingNeitherDoGroups(t *testing.T) {
	s := new(server)
	p := s.pool(t, 0)
	pr, db := newProgram(p)
	db.SetMaxIdleConns(0)
	defer db.Close()
	for range 3 {
		require.NoError(t, pr.group(t.Context(), func() {}))
		assert.Zero(t, s.live())
	}
}

// Also where there are seats for more: their virtual connections will open connections of their own.
func TestWhereTheProgramsPoolKeepsNothingAGroupLeavesNothingToOthers(t *testing.T) {
	s := new(server)
	p := s.pool(t, 0)
	pr, db := newProgram(p)
	db.SetMaxIdleConns(0)
	defer db.Close()
	require.NoError(t, pr.group(t.Context(), func() {
		for range 2 {
			c, err := db.Conn(t.Context())
			require.NoError(t, err)
			t.Cleanup(func() { c.Close() })
		}
	}))
	assert.Zero(t, s.live())
}

// The connection that stands for a group is taken for as long as the group runs.
func TestGroupsHaveNoMoreConnectionsThanAPoolThatKeepsNoneMayOpen(t *testing.T) {
	s := new(server)
	p := s.pool(t, 0)
	pr, db := newProgram(p)
	db.SetMaxIdleConns(0)
	db.SetMaxOpenConns(2)
	defer db.Close()
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			assert.NoError(t, pr.group(t.Context(), func() {
				time.Sleep(time.Millisecond)
				assert.LessOrEqual(t, s.live(), int64(2))
			}))
		})
	}
	bounded.Wait(t, "the groups have run", all.Wait)
}

// A program's caller has a connection of its own on the plain driver, whatever work without one goes on.
func TestACallerDoesNotWaitForWorkThatHasTakenItsPlace(t *testing.T) {
	s := new(server)
	p := s.pool(t, 0)
	pr, db := newProgram(p)
	defer db.Close()
	require.NoError(t, pr.use(t.Context(), db, func() {}))
	require.NoError(t, pr.use(t.Context(), db, func() {}))
	bounded.Wait(t, "the caller is served", func() {
		require.NoError(t, pr.group(t.Context(), func() { // has the connection that was left
			require.NoError(t, pr.use(t.Context(), db, func() {}))
		}))
	})
}

func TestGroupsOfAProgramThatHasClosedItsPoolGoOn(t *testing.T) {
	s := new(server)
	p := s.pool(t, 0)
	pr, db := newProgram(p)
	require.NoError(t, db.Close())
	p.Drain()
	for range 3 {
		require.NoError(t, pr.group(t.Context(), func() {}))
	}
	assert.EqualValues(t, 1, s.opened.Load())
}

// A random program: callers, groups and calls that were put off, some with little time, on a server that is full at times,
// beside changes of the program's settings.
func TestARandomProgramIsServedWithinItsOwnLimits(t *testing.T) {
	for seed := range uint64(6) {
		random := rand.New(rand.NewPCG(seed, 1))
		most := []int{0, 0, 1, 5}[random.IntN(4)]
		var pr *program
		s := new(server)
		var refusing atomic.Bool
		s.connect = func(ctx context.Context) error {
			_, n := pr.count(0, 1)
			pr.mu.Lock()
			seats := *ctx.Value(markKey{}).(*int)
			pr.mu.Unlock()
			if n > max(seats, 1) {
				t.Errorf("seed %d: %d connections for %d seats", seed, n, seats)
			}
			if most > 0 && n > most {
				t.Errorf("seed %d: %d connections where %d are allowed", seed, n, most)
			}
			if refusing.Load() && n > 3 {
				pr.count(0, -1)
				return errNoRoom
			}
			return nil
		}
		s.close = func() { pr.count(0, -1) }
		p := s.pool(t, most)
		pr, db := newProgram(p)
		var all sync.WaitGroup
		var served, ended atomic.Int64
		const each = 150
		for g := range 24 {
			r := rand.New(rand.NewPCG(seed, uint64(g)+2))
			all.Go(func() {
				for range each {
					ctx, cancel := context.Background(), context.CancelFunc(func() {})
					if r.IntN(4) == 0 {
						ctx, cancel = context.WithTimeout(ctx, time.Duration(r.IntN(1000))*time.Microsecond)
					}
					during := func() {
						if r.IntN(3) == 0 {
							time.Sleep(time.Duration(r.IntN(300)) * time.Microsecond)
						}
					}
					ctx, done := pr.marked(ctx)
					var err error
					switch g % 4 {
					case 0:
						err = pr.group(ctx, during)
					case 1:
						var l Lease
						if l, err = p.Borrow(ctx, Use{For: PutOff}); err == nil {
							during()
							l.Done([]error{nil, driver.ErrBadConn}[r.IntN(20)/19], false)
						}
					default:
						err = pr.use(ctx, db, during)
					}
					switch {
					case err == nil:
						served.Add(1)
					case errors.Is(err, context.DeadlineExceeded):
						ended.Add(1)
					case errors.Is(err, errNoRoom):
						t.Error("a borrower was refused while others had connections")
					default:
						t.Error(err)
					}
					cancel()
					done()
				}
			})
		}
		stop := make(chan struct{})
		settings := make(chan struct{})
		go func() {
			defer close(settings)
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				db.SetMaxOpenConns(random.IntN(12))
				db.SetMaxIdleConns(random.IntN(12))
				refusing.Store(random.IntN(3) == 0)
				if random.IntN(10) == 0 {
					p.Renew()
				}
			}
		}()
		bounded.Wait(t, "every borrower is served, or its context ends", all.Wait)
		close(stop)
		<-settings
		assert.EqualValues(t, 24*each, served.Load()+ended.Load())
		require.NoError(t, db.Close())
		bounded.Until(t, "what was asked for is given back", func() bool {
			seats, _ := pr.count(0, 0)
			return seats == 0
		})
		st := p.Stats()
		assert.Zero(t, st.InUse)
		assert.Zero(t, s.live(), "seed %d: no seat, no connection", seed)
		require.False(t, t.Failed())
	}
}
