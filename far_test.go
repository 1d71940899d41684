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

// far is the driver of a server that is a millisecond away: each message to it and back takes as long.
type far struct{}

func (far) Connect(context.Context) (driver.Conn, error) { return far{}, nil }
func (far) Driver() driver.Driver                        { return nil }
func (far) Prepare(string) (driver.Stmt, error)          { return nil, driver.ErrSkip }
func (far) Close() error                                 { return nil }
func (far) Begin() (driver.Tx, error)                    { return far{}, far{}.Commit() }
func (far) Rollback() error                              { return far{}.Commit() }
func (far) Commit() error                                { time.Sleep(time.Millisecond); return nil }
func (far) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	return driver.RowsAffected(1), far{}.Commit()
}

// took is how long 64 callers need for a thousand calls each, by 64 connections.
func took(t *testing.T, c driver.Connector) (d time.Duration, s Stats) {
	db := sql.OpenDB(c)
	defer db.Close()
	db.SetMaxOpenConns(64)
	db.SetMaxIdleConns(64)
	start := time.Now()
	var callers sync.WaitGroup
	for range 64 {
		callers.Go(func() {
			for range 1000 {
				_, err := db.Exec("INSERT INTO t VALUES (1)")
				assert.NoError(t, err)
			}
		})
	}
	callers.Wait()
	d = time.Since(start)
	s, _ = StatsOf(db)
	return d, s
}

// The clock is made: what is compared is how many calls wait for each other.
func TestADriverOfWhichNothingIsKnownIsNotSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := NewConnector(far{})
		require.NoError(t, err)
		plain, _ := took(t, far{})
		ours, s := took(t, c)
		assert.LessOrEqual(t, float64(ours)/float64(plain), 1.25, "the learning among it")
		assert.Equal(t, 64, s.Lanes)
		assert.Equal(t, Autocommit, s.Mode)
		assert.Contains(t, s.Why, "each call runs by itself")
	})
}
