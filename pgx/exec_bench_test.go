package pgx_test

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/benchtest"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	gcpgx "github.com/groupcommit/groupcommit/pgx"
	"github.com/stretchr/testify/require"
)

// An insert by Exec, on a server that syncs each commit: by the plain driver on at most 64 connections, and in groups with and
// without ids. go run ./bench speed compares with more.
func BenchmarkExec(b *testing.B) {
	server := pgtest.New(b, pgtest.Options{})
	for _, callers := range []int{1, 64, 1024} {
		for _, ids := range []string{"off", "on"} {
			b.Run(fmt.Sprintf("callers=%d/ids=%s/driver=groupcommit", callers, ids), func(b *testing.B) { benchmarkExec(b, server, gcpgx.DriverName, callers, ids == "on") })
		}
		b.Run(fmt.Sprintf("callers=%d/ids=off/driver=plain", callers), func(b *testing.B) { benchmarkExec(b, server, "pgx", callers, false) })
	}
}

const benchPool = 64

func benchmarkExec(b *testing.B, server *pgtest.Server, driver string, callers int, ids bool) {
	var opts []pgtest.DSNOption
	if driver == gcpgx.DriverName {
		opts = append(opts, pgtest.Param("groupcommit_physical", strconv.Itoa(benchPool)))
	}
	if ids {
		opts = append(opts, pgtest.Param("groupcommit_promises", "on"))
	}
	name := fmt.Sprint("bench_", drivers.Add(1))
	dsn, err := server.NewDatabase(name)
	require.NoError(b, err)
	defer server.DropDatabase(name)
	db, err := sql.Open(driver, pgtest.With(dsn, opts...))
	require.NoError(b, err)
	defer db.Close()
	db.SetMaxIdleConns(callers)
	if driver == "pgx" {
		db.SetMaxOpenConns(benchPool)
	}
	_, err = db.Exec("CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, value bigint)")
	require.NoError(b, err)
	benchtest.Callers(b, callers, func(n int) error {
		ctx := context.Background()
		if ids {
			ctx = groupcommit.WithID(ctx, "bench-"+strconv.Itoa(n))
		}
		_, err := db.ExecContext(ctx, "INSERT INTO t (value) VALUES ($1)", int64(n))
		return err
	})
	if s, err := groupcommit.StatsOf(db); err == nil {
		b.ReportMetric(s.MeanGroup(), "calls/group")
	}
}
