package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// poolOf is the pool of a database of the fake's that keeps connections, and has one writer.
func poolOf(t *testing.T, f *fake) *pool {
	d, err := databaseOf(f.usedDB(t))
	require.NoError(t, err)
	return d.pool
}

func take(t *testing.T, p *pool, writing bool) lease {
	t.Helper()
	l, err := p.borrow(t.Context(), writing)
	require.NoError(t, err)
	return l
}

func TestBesideReadersTheConnectionThatWroteLastWritesNext(t *testing.T) {
	f := newFake()
	p := poolOf(t, f)
	idle, reader, writer := take(t, p, false), take(t, p, false), take(t, p, true)
	wrote := writer.physical
	writer.giveBack(true)
	idle.giveBack(false) // was used last, and would be next
	again := take(t, p, true)
	assert.Same(t, wrote, again.physical)
	again.giveBack(true)
	other := take(t, p, false)
	assert.NotSame(t, wrote, other.physical, "a reader has taken what the writer needs")
	other.giveBack(false)
	reader.giveBack(false)
	assert.Zero(t, p.kept.Load(), "nobody is at work")
	assert.Zero(t, p.Stats().InUse)
	assert.Equal(t, 3, f.count("open"))
}

func TestWhoIsAloneHasTheConnectionThatWasUsedLast(t *testing.T) {
	f := newFake()
	p := poolOf(t, f)
	a, b := take(t, p, false), take(t, p, true)
	last := a.physical
	b.giveBack(true)
	a.giveBack(false)
	for i := range 6 {
		l := take(t, p, i%2 == 0)
		if i > 0 {
			assert.Same(t, last, l.physical)
		}
		last = l.physical
		l.giveBack(i%2 == 0)
	}
	assert.Equal(t, 2, f.count("open"))
}

func TestAReaderTakesTheWritersConnectionBeforeANewOneIsOpened(t *testing.T) {
	f := newFake()
	p := poolOf(t, f)
	reader, writer := take(t, p, false), take(t, p, true)
	writer.giveBack(true)
	assert.Equal(t, int64(1), p.kept.Load())
	second := take(t, p, false)
	assert.Equal(t, 2, f.count("open"))
	second.giveBack(false)
	reader.giveBack(false)
}

func TestNoConnectionIsKeptFromWhoMayBeWaitingForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		d, err := databaseOf(f.usedDB(t, Physical(func(pool *sql.DB) { pool.SetMaxOpenConns(2) })))
		require.NoError(t, err)
		reader, writer := take(t, d.pool, false), take(t, d.pool, true)
		var waiting sync.WaitGroup
		waiting.Go(func() {
			l, err := d.pool.borrow(context.Background(), false)
			if assert.NoError(t, err) {
				l.giveBack(false)
			}
		})
		synctest.Wait()
		writer.giveBack(true)
		waiting.Wait()
		reader.giveBack(false)
	})
}

func TestAConnectionThatWentStaleWhileItWasKeptIsReplaced(t *testing.T) {
	f := newFakeOf(modern)
	p := poolOf(t, f)
	reader, writer := take(t, p, false), take(t, p, true)
	writer.giveBack(true)
	f.restart()
	again := take(t, p, true)
	assert.NotSame(t, writer.physical, again.physical)
	again.giveBack(false)
	reader.giveBack(false)
}

// A program that says SetMaxIdleConns(0) wants each use to open a connection of its own, and none to be left.
func TestWhereTheProgramsPoolKeepsNothingNothingIsLeftBelow(t *testing.T) {
	for name, use := range map[string]func(t *testing.T, db *sql.DB){
		"ping": func(t *testing.T, db *sql.DB) { require.NoError(t, db.Ping()) },
		"exec": func(t *testing.T, db *sql.DB) { require.NoError(t, execOf(db, "INSERT a")()) },
		"no batch": func(t *testing.T, db *sql.DB) {
			_, err := db.ExecContext(NoBatch(t.Context()), "INSERT a")
			require.NoError(t, err)
		},
		"query": func(t *testing.T, db *sql.DB) { require.NoError(t, oneRow(t.Context(), db)) },
		"tx": func(t *testing.T, db *sql.DB) {
			tx, err := db.Begin()
			require.NoError(t, err)
			require.NoError(t, tx.Commit())
		},
		"raw": func(t *testing.T, db *sql.DB) {
			c, err := db.Conn(t.Context())
			require.NoError(t, err)
			require.NoError(t, Raw(t.Context(), c, func(driver.Conn) error { return nil }))
			require.NoError(t, c.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			native, ours := newFake(), newFake()
			for f, db := range map[*fake]*sql.DB{native: native.plain(t), ours: ours.db(t)} {
				db.SetMaxIdleConns(0)
				if f == native && name == "raw" {
					continue
				}
				for range 3 {
					use(t, db)
					f.mu.Lock()
					assert.Zero(t, f.live, "ours: %t", f == ours)
					f.mu.Unlock()
				}
			}
			assert.Equal(t, 3, ours.count("open"), "one for each use")
		})
	}
}

func TestAFirstUseOpensOneConnection(t *testing.T) {
	f := newFake()
	db := f.db(t)
	require.NoError(t, db.Ping())
	require.NoError(t, execOf(db, "INSERT a")())
	require.NoError(t, oneRow(t.Context(), db))
	tx, err := db.Begin()
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	assert.Equal(t, 1, f.count("open"))
}

// A wrapper above us may hide that the program's pool keeps its connections.
func TestAConnThatIsUsedAgainHasBeenKept(t *testing.T) {
	for name, put := range map[string]func(*conn){"with IsValid": func(c *conn) { c.IsValid() }, "with nothing": func(*conn) {}} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			d, err := databaseOf(f.db(t))
			require.NoError(t, err)
			c := &conn{db: d, programs: true}
			defer c.Close()
			for range manyUses {
				_, err := c.ExecContext(t.Context(), "INSERT a", nil)
				require.NoError(t, err)
				put(c)
			}
			assert.True(t, d.pool.keeps.Load())
			assert.LessOrEqual(t, f.count("open"), 2)
		})
	}
}

func TestAProgramOfPromisesAloneKeepsItsConnection(t *testing.T) {
	f := newFake()
	db := f.db(t)
	for range 5 {
		_, err := Go(t.Context(), db, "INSERT a").Await(t.Context())
		require.NoError(t, err)
	}
	assert.Equal(t, 1, f.count("open"))
}

// A LISTEN, say, keeps its connection for as long as the program runs.
func TestWhoIsBusyForEverKeepsNoIdleConnectionFromThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		d, err := databaseOf(f.usedDB(t))
		require.NoError(t, err)
		p := d.pool
		forever, writer := take(t, p, false), take(t, p, true)
		writer.giveBack(true)
		require.Equal(t, int64(1), p.kept.Load())
		time.Sleep(2 * warmFor)
		synctest.Wait()
		assert.Zero(t, p.kept.Load())
		assert.Equal(t, 1, p.Stats().Idle, "lifetimes hold for it")
		forever.giveBack(false)
	})
}
