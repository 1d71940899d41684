package main

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPostgreSQLsSidesInTheTableAndInTheJSON(t *testing.T) {
	dsn := pgtest.DSN(t)
	file := filepath.Join(t.TempDir(), "runs.json")
	code, out, errs := runProgram(t, "--driver", "pgx", "--dsn", dsn, "--users", "230", "--goroutines", "8", "--maxlen", "50", "--json", file)
	assert.Zero(t, code, errs)
	assert.Empty(t, errs)
	for _, want := range []string{"synchronous_commit=on on all sides", "the one of --dsn", "16 connections", "pgx.Batch", "every value found exactly once"} {
		assert.Contains(t, out, want)
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	runs := decoded(t, text)
	require.Len(t, runs, 3)
	for i, driver := range []string{"pgx", "pgx-groupcommit", "pgx"} {
		r := runs[i]
		assert.Len(t, r, 20)
		assert.Equal(t, []string{"exec", "exec", "hand"}[i], r["api"])
		assert.Equal(t, driver, r["driver"])
		assert.Equal(t, i > 0, r["batch"])
		assert.Equal(t, "on", r["synchronous"])
		assert.Equal(t, 50.0, r["maxlen"])
		assert.Equal(t, 230.0, r["rows"])
		assert.InEpsilon(t, 230/r["commits"].(float64), r["mean_group"], 1e-9)
	}
	assert.Equal(t, 230.0, runs[0]["commits"])
	assert.LessOrEqual(t, runs[1]["max_group"], 50.0)
	assert.Equal(t, 5.0, runs[2]["commits"])
	assert.Equal(t, 1.0, runs[2]["goroutines"])
	assert.Empty(t, tables(t, dsn))
}

func TestCommandsOnPostgreSQL(t *testing.T) {
	dsn := pgtest.DSN(t)
	code, out, errs := runProgram(t, "--driver", "pgx", "--dsn", dsn, "--api", "commands", "--users", "230", "--goroutines", "70", "--maxlen", "50", "--json", "-")
	assert.Zero(t, code, errs)
	runs := decoded(t, []byte(out))
	require.Len(t, runs, 3)
	for i, driver := range []string{"pgx", "pgx-groupcommit", "pgx-groupcommit"} {
		assert.Equal(t, driver, runs[i]["driver"])
		assert.Equal(t, []string{"exec", "exec", "commands"}[i], runs[i]["api"])
		assert.Equal(t, 230.0, runs[i]["rows"])
	}
	assert.LessOrEqual(t, runs[2]["max_group"], 50.0)
	assert.InEpsilon(t, 230/runs[2]["commits"].(float64), runs[2]["mean_group"], 1e-9)
	assert.Empty(t, tables(t, dsn))
}

// tables are those of a database.
func tables(t *testing.T, dsn string) (names []string) {
	db, err := sql.Open("pgx", dsn)
	require.NoError(t, err)
	defer db.Close()
	rows, err := db.Query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var name string
		require.NoError(t, rows.Scan(&name))
		names = append(names, name)
	}
	require.NoError(t, rows.Err())
	return names
}

func TestWithoutADSNAThrowawayClusterServes(t *testing.T) {
	if pgtest.Shared(t).External() { // Shared skips where there is no PostgreSQL
		t.Skip(pgtest.ErrExternal)
	}
	code, out, errs := runProgram(t, "--driver", "pgx", "--users", "100", "--batch", "--verbose")
	assert.Zero(t, code, errs)
	assert.Contains(t, out, "a throwaway cluster in ")
	assert.Contains(t, out, "Values from ")
}

func TestOptionsInTheDSNAreGroupcommitsOnly(t *testing.T) {
	dsn := pgtest.DSN(t, pgtest.Param("groupcommit_maxlen", "7"), pgtest.Param("synchronous_commit", "off"))
	code, out, errs := runProgram(t, "--driver", "pgx", "--dsn", dsn, "--users", "50", "--json", "-")
	assert.Zero(t, code, errs)
	assert.Contains(t, errs, "commits are not synced")
	runs := decoded(t, []byte(out))
	require.Len(t, runs, 3)
	assert.LessOrEqual(t, runs[1]["max_group"], 7.0)
	assert.Equal(t, "off", runs[1]["synchronous"])
}

func TestWithoutPostgreSQLTheErrorSaysWhatToInstall(t *testing.T) {
	text := forTheProgram.Replace("pgtest: no PostgreSQL server found: install it, or name a running server in " + pgtest.EnvServer)
	assert.Equal(t, "no PostgreSQL server found: install it, or name a running server with --dsn", text)
}
