package main

import (
	"bytes"
	"context"
	"io"
	"runtime"
	"slices"
	"testing"
	"time"

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
	some := libraries
	if !*wholeGrid { // each has three databases: one of a kind
		some = slices.DeleteFunc(slices.Clone(libraries), func(l library) bool {
			return !slices.Contains([]string{"bun Insert, own keys", "ent Create", "river Insert"}, l.name)
		})
		require.Len(t, some, 3)
	}
	var out bytes.Buffer
	r := &librariesRun{of: some, what: "libraries", dsn: dsn, driver: pgxDriver, pace: pace{slice: 5 * time.Millisecond, slices: 1}}
	require.NoError(t, r.measure(context.Background(), &out, io.Discard, io.Discard))
	for _, l := range some {
		assert.Contains(t, out.String(), "| "+l.name+" | ")
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
