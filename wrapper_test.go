package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// above is a wrapper around our driver, which opens its connections one by one.
type above struct {
	inner driver.Driver
	wrap  func(driver.Conn) driver.Conn
}

func (a above) Open(dsn string) (driver.Conn, error) {
	c, err := a.inner.Open(dsn)
	if err != nil {
		return nil, err
	}
	return a.wrap(c), nil
}

// aboveConnector is one around our connector.
type aboveConnector struct {
	driver.Connector
	wrap func(driver.Conn) driver.Conn
}

func (a aboveConnector) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := a.Connector.Connect(ctx)
	return a.wrap(c), err
}

type (
	embeddingConn struct{ driver.Conn }
	privateConn   struct{ conn driver.Conn }
	tellingConn   struct {
		*opaqueConn
		raw func() driver.Conn
	}
	opaqueConn struct{ open func() driver.Conn }
)

func (c privateConn) Prepare(q string) (driver.Stmt, error) { return c.conn.Prepare(q) }
func (c privateConn) Close() error                          { return c.conn.Close() }
func (c privateConn) Begin() (driver.Tx, error)             { return nil, errFake }
func (c *opaqueConn) Prepare(q string) (driver.Stmt, error) { return c.open().Prepare(q) }
func (c *opaqueConn) Close() error                          { return c.open().Close() }
func (c *opaqueConn) Begin() (driver.Tx, error)             { return nil, errFake }
func (c tellingConn) Raw() driver.Conn                      { return c.raw() }

var shapes = map[string]func(driver.Conn) driver.Conn{
	"an embedded interface": func(c driver.Conn) driver.Conn { return &embeddingConn{c} },
	"a private field":       func(c driver.Conn) driver.Conn { return privateConn{c} },
	"twice":                 func(c driver.Conn) driver.Conn { return &embeddingConn{privateConn{c}} },
	"a method Raw": func(c driver.Conn) driver.Conn {
		open := func() driver.Conn { return c }
		return tellingConn{&opaqueConn{open}, open}
	},
}

func opaque(c driver.Conn) driver.Conn { return &opaqueConn{func() driver.Conn { return c }} }

// driver is our driver of the fake.
func (f *fake) driver(t *testing.T, opts ...Option) driver.Driver {
	db := must(sql.Open(f.register(t, opts...), "of no matter"))
	defer db.Close()
	return db.Driver()
}

// wrapped opens the fake through us and a wrapper above us, by connections that are opened one by one.
func (f *fake) wrapped(t *testing.T, wrap func(driver.Conn) driver.Conn, opts ...Option) *sql.DB {
	name := fmt.Sprintf("above%d", fakes.Add(1))
	sql.Register(name, above{f.driver(t, opts...), wrap})
	return must(sql.Open(name, "x"))
}

func TestTheDatabaseIsFoundBehindAWrapperAboveUs(t *testing.T) {
	for shape, wrap := range shapes {
		for way, open := range map[string]func(*testing.T, *fake) *sql.DB{
			"opened one by one": func(t *testing.T, f *fake) *sql.DB { return f.wrapped(t, wrap) },
			"by its connector": func(t *testing.T, f *fake) *sql.DB {
				return sql.OpenDB(aboveConnector{must(NewConnector(f)), wrap})
			},
		} {
			t.Run(shape+", "+way, func(t *testing.T) {
				f := newFake()
				db := open(t, f)
				defer db.Close()
				_, err := Go(t.Context(), db, "INSERT a").Await(t.Context())
				require.NoError(t, err)
				assert.Equal(t, []string{"INSERT a []"}, f.stored())
				st, err := StatsOf(db)
				require.NoError(t, err)
				assert.EqualValues(t, 1, st.Calls, "another database's")
				_, err = Lookup(t.Context(), db, "id")
				require.ErrorContains(t, err, "the database keeps no promises")
				_, err = Handle(db, func(context.Context, *sql.Tx, []*Command[int, int]) error { return nil })
				require.NoError(t, err)
				c := must(db.Conn(t.Context()))
				defer c.Close()
				require.NoError(t, Raw(t.Context(), c, func(raw driver.Conn) error {
					assert.NotNil(t, raw)
					return nil
				}))
			})
		}
	}
}

func TestADatabaseThatAWrapperHidesIsAClearError(t *testing.T) {
	f := newFake()
	db := f.wrapped(t, opaque)
	defer db.Close()
	for range 2 {
		_, err := StatsOf(db)
		require.ErrorContains(t, err, "has driver groupcommit.above, which is not groupcommit's")
	}
}

// A program that asks for statistics while all connections are in use must not stand still.
func TestWhereNoConnectionIsFreeTheDatabaseIsNotLookedForForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newFake().wrapped(t, shapes["a private field"])
		db.SetMaxOpenConns(1)
		held := must(db.Conn(t.Context()))
		began := time.Now()
		_, err := StatsOf(db)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "none was free or could be opened")
		assert.Equal(t, time.Second, time.Since(began))
		_, err = Go(t.Context(), db, "INSERT a").Await(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second+lookFor, time.Since(began))
		require.NoError(t, held.Close())
		_, err = StatsOf(db)
		require.NoError(t, err)
		held = must(db.Conn(t.Context()))
		_, err = StatsOf(db)
		require.NoError(t, err, "it was found before")
		require.NoError(t, db.Close())
		require.NoError(t, held.Close())
		time.Sleep(keptFor + time.Second)
	})
}

func TestWithoutAWrapperTheDatabaseIsFoundWithoutAConnection(t *testing.T) {
	db := newFake().db(t)
	db.SetMaxOpenConns(1)
	held := must(db.Conn(t.Context()))
	defer held.Close()
	_, err := StatsOf(db)
	require.NoError(t, err)
}

// each is a connector that opens its connections by a driver's Open.
type each struct {
	d   driver.Driver
	dsn string
}

func (c each) Connect(context.Context) (driver.Conn, error) { return c.d.Open(c.dsn) }
func (c each) Driver() driver.Driver                        { return c.d }

func TestConnectionsThatAreOpenedOneByOneShareTheirGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{gate: make(chan struct{})}
		d := newFake().driver(t, WithEngine(s))
		one, two, other := sql.OpenDB(each{d, "x"}), sql.OpenDB(each{d, "x"}), sql.OpenDB(each{d, "y"})
		plug := exec1(one, "plug")
		as := []*answer{exec1(one, "a"), exec1(two, "b")}
		close(s.gate)
		plug.ok(t)
		allOK(t, as...)
		exec1(other, "c").ok(t)
		assert.Equal(t, []string{"group a b", "alone c"}, s.ran)
		for db, calls := range map[*sql.DB]int64{one: 3, two: 3, other: 1} {
			st, err := StatsOf(db)
			require.NoError(t, err)
			assert.Equal(t, calls, st.Calls)
		}
		for _, db := range []*sql.DB{one, two, other} {
			require.NoError(t, db.Close())
		}
		time.Sleep(keptFor + 3*time.Second)
	})
}

// A database in memory without a name is a connection's own.
func TestConnectionsThatAreTheirDatabasesShareNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		d := f.driver(t, WithEngine(inMemory{}))
		var opening sync.WaitGroup
		conns := make([]driver.Conn, 3)
		for i := range conns {
			opening.Go(func() { conns[i] = must(d.Open("")) })
		}
		opening.Wait()
		hosts := make(map[any]bool)
		for _, c := range conns {
			hosts[c.(aConn).Host()] = true
		}
		assert.Len(t, hosts, 3)
		for _, c := range conns {
			require.NoError(t, c.Close())
		}
		assert.Zero(t, f.live, "they live no longer than their connections")
	})
}

// inMemory is an engine for databases in memory.
type inMemory struct{ name string }

func (e inMemory) Open(_ context.Context, conn driver.Conn, s engine.Settings) (engine.Session, error) {
	return memorySession{anySession{conn}, e.name}, nil
}

type memorySession struct {
	anySession
	name string
}

func (s memorySession) Idle() bool { return true }
func (s memorySession) Traits() engine.Traits {
	return engine.Traits{OneConn: true, WriterKey: s.name, BusyWait: time.Second, Busy: errBusy}
}

func TestADatabaseInMemoryWithANameLivesAsLongAsAConnection(t *testing.T) {
	f := newFake()
	d := f.driver(t, WithEngine(inMemory{"of this test"}))
	a, b := must(d.Open("n")), must(d.Open("n"))
	assert.Same(t, a.(aConn).Host(), b.(aConn).Host())
	require.NoError(t, a.Close())
	assert.Equal(t, 1, f.live)
	require.NoError(t, b.Close())
	assert.Zero(t, f.live)
	c := must(d.Open("n"))
	assert.NotSame(t, a.(aConn).Host(), c.(aConn).Host(), "it would have the old one's rows")
	require.NoError(t, c.Close())
}

func TestWhereADatabaseIsGoneTheNextOneOfTheSameSQLDBIsFound(t *testing.T) {
	d := newFake().driver(t, WithEngine(inMemory{"that is gone"}))
	db := sql.OpenDB(each{d, "n"})
	defer db.Close()
	_, err := Go(t.Context(), db, "INSERT a").Await(t.Context())
	require.NoError(t, err)
	db.SetMaxIdleConns(0)
	db.SetMaxIdleConns(2)
	_, err = Go(t.Context(), db, "INSERT a").Await(t.Context())
	require.NoError(t, err)
}

// As on the plain driver, a program that has closed its sql.DB may move the file.
func TestWhenTheLastConnectionIsClosedThePhysicalOnesAreAndTheDatabaseIsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		d := f.driver(t)
		var d1 *database
		for i := range 3 {
			db := sql.OpenDB(each{d, "x"})
			for range 3 {
				require.NoError(t, execOf(db, "INSERT a")())
				require.NoError(t, oneRow(t.Context(), db))
			}
			of, err := databaseOf(t.Context(), db)
			require.NoError(t, err)
			if i == 0 {
				d1 = of
			}
			assert.Same(t, d1, of, "what it has learned is lost")
			require.NoError(t, db.Close())
			f.mu.Lock()
			assert.Zero(t, f.live)
			f.mu.Unlock()
			time.Sleep(keptFor - time.Second)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.True(t, d1.isClosed())
		db := sql.OpenDB(each{d, "x"})
		require.NoError(t, execOf(db, "INSERT a")())
		require.NoError(t, db.Close())
		time.Sleep(keptFor)
	})
}

// Neither a panic in a hook nor a wrapper that closes twice counts wrong.
func TestADatabaseOfConnectionsThatAreOpenedOneByOneEndsWithTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		d := f.driver(t)
		f.fail = func(op, _ string) error {
			if op == "open" {
				panic("hook")
			}
			return nil
		}
		assert.PanicsWithValue(t, "hook", func() { d.Open("x") })
		f.fail = nil
		ends := func(dsn string, closes int) {
			one, err := d.Open(dsn)
			require.NoError(t, err)
			last, err := d.Open(dsn)
			require.NoError(t, err)
			of := last.(aConn).Host().(*database)
			for range closes {
				require.NoError(t, one.Close())
			}
			time.Sleep(keptFor + time.Second)
			assert.False(t, of.isClosed(), "a connection is open")
			require.NoError(t, last.Close())
			time.Sleep(keptFor + time.Second)
			assert.True(t, of.isClosed())
		}
		ends("x", 1)
		ends("y", 2)
	})
}

// A pool that keeps no connection closes each after its use. Its program has not closed anything.
func TestWhatAProgramHasOfADatabaseLastsUntilItClosesItsSQLDB(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		d := f.driver(t)
		db := sql.OpenDB(each{d, "x"})
		db.SetMaxIdleConns(0)
		commands, err := Handle(db, func(ctx context.Context, tx *sql.Tx, batch []*Command[int, int]) error {
			for _, c := range batch {
				c.Resolve(c.Value + 1)
			}
			return nil
		})
		require.NoError(t, err)
		of, err := databaseOf(t.Context(), db)
		require.NoError(t, err)
		for range 3 {
			time.Sleep(time.Minute)
			got, err := commands.Do(t.Context(), "", 7)
			require.NoError(t, err)
			assert.Equal(t, 8, got)
			_, err = Go(t.Context(), db, "INSERT a").Await(t.Context())
			require.NoError(t, err)
		}
		assert.False(t, of.isClosed())
		require.NoError(t, db.Close())
		time.Sleep(keptFor + time.Second)
		synctest.Wait()
		assert.True(t, of.isClosed())
		assert.Zero(t, f.live)
		_, err = Go(t.Context(), db, "INSERT a").Await(t.Context())
		require.ErrorIs(t, err, ErrClosed)
	})
}

func TestOpenHasTheErrorOfTheDriversOwn(t *testing.T) {
	f := newFake()
	d := f.driver(t)
	refused := errors.New("refused")
	f.on("open", "", 1, refused)
	_, err := d.Open("x")
	require.ErrorIs(t, err, refused)
	c, err := d.Open("x")
	require.NoError(t, err)
	require.NoError(t, c.Close())
	_, err = d.Open("x?groupcommit_maxlen=0")
	require.ErrorContains(t, err, "groupcommit_maxlen")
}
