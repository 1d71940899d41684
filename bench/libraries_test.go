package main

import (
	"runtime"
	"slices"
	"testing"

	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheModeLibrariesMeasuresEveryLibraryOnSQLite(t *testing.T) {
	args := []string{"libraries", "--driver", "sqlite3", "--slice", "5ms", "--warm", "0s", "--slices", "1", "--json", "-"}
	where := "SQLite, WAL, synchronous=FULL, in "
	if runtime.GOOS == "linux" {
		args = append(args, "--sync", "100us") // it begins anew, and says the same
		where += "memory, where a sync takes 100µs"
	}
	code, out, errs := runProgram(t, args...)
	require.Zero(t, code, errs)
	assert.Contains(t, errs, where)
	measured := decodedList(t, []byte(out), "libraries")
	require.Len(t, measured, len(libraries))
	for i, l := range measured {
		assert.Equal(t, libraries[i].name, l["library"])
		assert.Contains(t, errs, "| "+libraries[i].name+" | ")
		assert.Positive(t, l["ratio"])
	}
}

func TestTheModeLibrariesLeavesNoDatabaseOnTheServer(t *testing.T) {
	dsn := pgtest.DSN(t)
	code, out, errs := runProgram(t, "libraries", "--driver", "pgx", "--dsn", dsn, "--libraries", "Insert", "--slice", "5ms", "--warm", "0s", "--slices", "1")
	require.Zero(t, code, errs)
	for _, l := range []string{"gorp Insert", "bun Insert, own keys", "bun Insert, keys of the database", "river Insert"} {
		assert.Contains(t, out, "| "+l+" | ")
	}
	db, err := openPgxPool(dsn, 1)
	require.NoError(t, err)
	defer db.Close()
	var left int
	require.NoError(t, db.QueryRow("SELECT count(*) FROM pg_database WHERE datname LIKE 'groupcommit_bench%'").Scan(&left))
	assert.Zero(t, left)
}

func TestTheModeTransactionsMeasuresEveryKindOnSQLite(t *testing.T) {
	ofEight := slices.DeleteFunc(slices.Clone(writeCases), func(l library) bool { return l.callers != 8 })
	code, out, errs := runProgram(t, "transactions", "--driver", "sqlite3", "--transactions", ", 8", "--slice", "2ms", "--warm", "0s", "--slices", "1", "--json", "-")
	require.Zero(t, code, errs)
	measured := decodedList(t, []byte(out), "transactions")
	require.Len(t, measured, len(ofEight))
	for i, c := range measured {
		assert.Equal(t, ofEight[i].name, c["library"])
		assert.Contains(t, c, "ratio")
	}
}
