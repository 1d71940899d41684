package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/internal/benchtest"

	"github.com/stretchr/testify/require"
)

// idle is a driver whose statements do nothing and whose commits take so long. A connection is its own transaction.
type idle struct{ commit time.Duration }

type idleConn struct {
	commit time.Duration
	within bool // a transaction
}

func (d idle) Connect(context.Context) (driver.Conn, error) { return &idleConn{commit: d.commit}, nil }
func (d idle) Driver() driver.Driver                        { return nil }

func (c *idleConn) Prepare(string) (driver.Stmt, error) { return nil, driver.ErrSkip }
func (c *idleConn) Close() error                        { return nil }
func (c *idleConn) Begin() (driver.Tx, error)           { c.within = true; return c, nil }
func (c *idleConn) Rollback() error                     { c.within = false; return nil }

func (c *idleConn) BeginTx(context.Context, driver.TxOptions) (driver.Tx, error) { return c.Begin() }

func (c *idleConn) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	if !c.within {
		return driver.RowsAffected(1), c.Commit()
	}
	return driver.RowsAffected(1), nil
}

func (c *idleConn) Commit() error {
	c.within = false
	if c.commit > 0 {
		time.Sleep(c.commit)
	}
	return nil
}

// What the library itself costs a call, without a database and with one group at a time: beside database/sql over the same
// driver where there is nothing to wait for, and by itself where a commit takes as long as a sync, or a millisecond where the
// scheduler has nothing else to do.
func BenchmarkBatcher(b *testing.B) {
	for _, callers := range []int{1, 8, 64, 1024, 4096} {
		for _, commit := range []time.Duration{0, 300 * time.Microsecond} {
			b.Run(fmt.Sprintf("callers=%d/commit=%v/driver=groupcommit", callers, commit), func(b *testing.B) {
				c, err := NewConnector(idle{commit}, Writers(1))
				require.NoError(b, err)
				benchmarkIdle(b, callers, sql.OpenDB(c))
			})
		}
		b.Run(fmt.Sprintf("callers=%d/commit=0s/driver=plain", callers), func(b *testing.B) { benchmarkIdle(b, callers, sql.OpenDB(idle{})) })
	}
}

func benchmarkIdle(b *testing.B, callers int, db *sql.DB) {
	defer db.Close()
	db.SetMaxIdleConns(callers)
	benchtest.Callers(b, callers, func(n int) error {
		_, err := db.Exec("INSERT INTO t VALUES (?)", int64(n))
		return err
	})
	if s, err := StatsOf(db); err == nil {
		b.ReportMetric(s.MeanGroup(), "calls/group")
	}
}
