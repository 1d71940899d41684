package main

import (
	"context"
	"os"
	"testing"

	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/pgx"
	"github.com/groupcommit/groupcommit/sqlite3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

func TestItRunsOnSQLite(t *testing.T) {
	require.NoError(t, run(context.Background(), sqlite3.DriverName, ""))
}

func TestItRunsOnPostgreSQLAndLeavesNoTable(t *testing.T) {
	dsn := pgtest.DSN(t)
	require.NoError(t, run(context.Background(), pgx.DriverName, dsn))
	require.NoError(t, run(context.Background(), pgx.DriverName, dsn))
}

func TestBadFlagsAreNamed(t *testing.T) {
	assert.ErrorContains(t, run(context.Background(), "mysql", ""), `-driver "mysql" is not allowed`)
	assert.ErrorContains(t, run(context.Background(), pgx.DriverName, ""), "needs a -dsn")
}
