package behind_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"runtime"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/internal/behind"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type connector struct{ open func() (driver.Conn, error) }

func (c *connector) Connect(context.Context) (driver.Conn, error) { return c.open() }
func (c *connector) Driver() driver.Driver                        { return nil }

type wrapper struct{ inner driver.Connector }

func (w wrapper) Connect(ctx context.Context) (driver.Conn, error) { return w.inner.Connect(ctx) }
func (w wrapper) Driver() driver.Driver                            { return nil }

type other struct{ driver.Connector }

type conn struct{ driver.Conn }

func (conn) Close() error { return nil }

func opened() (driver.Conn, error) { return conn{}, nil }

func open(t *testing.T, c driver.Connector) *sql.DB {
	db := sql.OpenDB(c)
	t.Cleanup(func() { db.Close() })
	return db
}

func TestAConnectorIsFoundInsideDatabaseSQL(t *testing.T) {
	c := &connector{opened}
	for name, outer := range map[string]driver.Connector{"itself": c, "wrapped": wrapper{wrapper{c}}} {
		got, ok := behind.Connector[*connector](open(t, outer))
		require.True(t, ok, name)
		assert.Same(t, c, got, name)
	}
	_, ok := behind.Connector[*connector](open(t, other{}))
	assert.False(t, ok)
}

func TestALookForAConnectionEndsWithItsContext(t *testing.T) {
	stuck := make(chan struct{})
	defer close(stuck)
	full := open(t, &connector{opened})
	full.SetMaxOpenConns(1)
	held, err := full.Conn(t.Context())
	require.NoError(t, err)
	defer held.Close()
	for name, db := range map[string]*sql.DB{
		"all are in use":                 full,
		"the driver's Open takes no end": open(t, &connector{func() (driver.Conn, error) { <-stuck; return nil, driver.ErrBadConn }}),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		bounded.Wait(t, name, func() {
			err = behind.Conn(ctx, db, func(driver.Conn) { t.Error("there is none") })
		})
		require.ErrorIs(t, err, context.DeadlineExceeded, name)
		cancel()
	}
	err = behind.Conn(t.Context(), open(t, &connector{func() (driver.Conn, error) { panic("a hook") }}), func(driver.Conn) {})
	require.ErrorContains(t, err, "a hook")
}

func TestWhatIsBehindASQLDBIsForgottenWithIt(t *testing.T) {
	var m behind.Memory[int]
	db := sql.OpenDB(&connector{opened})
	m.Put(db, 1)
	m.Put(db, 2)
	got, ok := m.Get(db)
	require.True(t, ok)
	assert.Equal(t, 2, got)
	count := func() (n int) {
		m.Each(func(*sql.DB, int) { n++ })
		return n
	}
	assert.Equal(t, 1, count())
	require.NoError(t, db.Close()) // its goroutine would keep it
	db = nil
	bounded.Until(t, "the sql.DB is forgotten", func() bool {
		runtime.GC()
		return m.Len() == 0
	})
}
