package sqlite3_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/benchtest"
	"github.com/groupcommit/groupcommit/sqlite3"
)

// An insert by Exec, in WAL mode, where each commit is synced: by the plain driver on one connection, and in groups with and
// without ids. go run ./bench speed compares with more.
func BenchmarkExec(b *testing.B) {
	for _, callers := range []int{1, 64, 1024} {
		for _, ids := range []string{"off", "on"} {
			b.Run(fmt.Sprintf("callers=%d/ids=%s/driver=groupcommit", callers, ids), func(b *testing.B) { benchmarkExec(b, sqlite3.DriverName, callers, ids == "on") })
		}
		b.Run(fmt.Sprintf("callers=%d/ids=off/driver=plain", callers), func(b *testing.B) { benchmarkExec(b, "sqlite3", callers, false) })
	}
}

func benchmarkExec(b *testing.B, driver string, callers int, ids bool) {
	dsn := "file:" + filepath.Join(b.TempDir(), "bench.db") + "?_journal=WAL&_sync=FULL"
	if ids {
		dsn += "&groupcommit_promises=on"
	}
	db := openDB(b, driver, dsn, "CREATE TABLE t (id INTEGER PRIMARY KEY, value INTEGER)")
	db.SetMaxIdleConns(callers)
	if driver == "sqlite3" {
		db.SetMaxOpenConns(1)
	}
	benchtest.Callers(b, callers, func(n int) error {
		ctx := context.Background()
		if ids {
			ctx = groupcommit.WithID(ctx, "bench-"+strconv.Itoa(n))
		}
		_, err := db.ExecContext(ctx, "INSERT INTO t (value) VALUES (?)", int64(n))
		return err
	})
	if s, err := groupcommit.StatsOf(db); err == nil {
		b.ReportMetric(s.MeanGroup(), "calls/group")
	}
}
