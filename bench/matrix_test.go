package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheMatrixPrintsEachCellAndTheWorstOne(t *testing.T) {
	dsn := pgtest.DSN(t)
	file := filepath.Join(t.TempDir(), "cells.json")
	code, out, errs := runProgram(t, "matrix", "--dsn", dsn, "--slice", "5ms", "--warm", "0s", "--slices", "2", "--json", file,
		"--cells", "statement=0,statement=1ms,trip=0,trip=1ms,callers=1,callers=8,pool=4")
	assert.Zero(t, code, errs)
	assert.Empty(t, errs)
	cellText := `(\*\*)?\d+\.\d\d(\*\*)? / \d+\.\d\d / \d+\.\d\d`
	for _, line := range []string{
		`\| pool of 4: statement, round trip \| 1 caller \| 8 callers \|`,
		`\| 0s, 0s \| ` + cellText + ` \| ` + cellText + ` \|`,
		`\| 0s, 1ms \| ` + cellText + ` \| ` + cellText + ` \|`,
		`\| 1ms, 0s \| ` + cellText + ` \| ` + cellText + ` \|`,
		`\| 1ms, 1ms \| ` + cellText + ` \| ` + cellText + ` \|`,
		`Worst: \d+\.\d\d, pool 4, statement \dm?s, round trip \dm?s, \d callers?: .* a second, p99 .*; plain .* a second, p99 .*\.`,
		`\d of 8 cells are below 0\.95\.`,
		`The proxy by itself, without a delay, 1 plain caller on 16 connections: .*`,
	} {
		assert.Regexp(t, `(?m)^`+line+`$`, out)
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	cells := decodedList(t, text, "cells")
	require.Len(t, cells, 8)
	for _, c := range cells {
		plain, swapped := c["plain"].(map[string]any), c["swapped"].(map[string]any)
		assert.Equal(t, 4.0, c["pool"])
		ratio := 0.0 // the median of two is their mean
		for i, rate := range plain["slices"].([]any) {
			ratio += swapped["slices"].([]any)[i].(float64) / rate.(float64) / 2
		}
		assert.InEpsilon(t, ratio, c["ratio"], 1e-9)
		assert.Len(t, plain["slices"], 2)
	}
	assert.Empty(t, tables(t, dsn))
}

func TestACellBelowTheLeastIsExitCode1(t *testing.T) {
	code, out, errs := runProgram(t, "matrix", "--dsn", pgtest.DSN(t), "--slice", "5ms", "--warm", "0s", "--slices", "1", "--control",
		"--cells", "statement=0,trip=0,callers=2,pool=2", "--least", "100")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "A control: both sides are the plain driver")
	assert.Regexp(t, `^bench: 1 of 1 cells are below 100\.00; the worst: \d+\.\d\d, pool 2, statement 0s, round trip 0s, 2 callers\n$`, errs)
}

func TestAPoolThatTheServerHasNoRoomForIsLeftOut(t *testing.T) {
	var out strings.Builder
	server, err := startCluster(context.Background(), pgtest.DSN(t), 0)
	require.NoError(t, err)
	m := &matrix{server: server, pace: pace{slice: time.Millisecond, slices: 1}, out: &out}
	require.NoError(t, m.measure(context.Background(), axes{[]int{9000}, []time.Duration{0}, []time.Duration{0}, []int{1}}))
	assert.Contains(t, out.String(), "Left out: a pool of 9000 on each side")
	assert.NoError(t, m.verdict(1))
}

func TestARowThatIsLostOrThereTwiceIsFound(t *testing.T) {
	ctx := context.Background()
	c, err := startCluster(ctx, pgtest.DSN(t), 0)
	require.NoError(t, err)
	tables, err := c.scratch(ctx, 1, numbers)
	require.NoError(t, err)
	by := &contender{name: "somebody"}
	by.made.Store(3)
	rows := func(texts string) {
		require.NoError(t, c.fill(ctx, "DELETE FROM T; INSERT INTO T VALUES "+texts, tables[0]))
	}
	rows("(0), (1), (2)")
	assert.NoError(t, c.eachOnce(ctx, tables[0], by))
	for _, wrong := range []string{"(0), (2)", "(0), (1), (1)", "(0), (1), (2), (2)", "(0), (1), (3)", "(0), (1), (NULL)"} {
		rows(wrong)
		assert.ErrorContains(t, c.eachOnce(ctx, tables[0], by), "the database is wrong: somebody", wrong)
	}
	by.fault(errors.New("lost"))
	rows("(0), (2)") // nobody knows of a call that failed
	assert.NoError(t, c.eachOnce(ctx, tables[0], by))
	require.NoError(t, c.clear(tables...))
}

func TestACellIsMarkedWhereItIsBelowTheGoal(t *testing.T) {
	assert.Equal(t, "**0.94** / 1.00 / 2.00", cellResult{Ratio: .94, P50: 1, P99: 2}.text())
	assert.Equal(t, "0.95 / 1.00 / 2.00", cellResult{Ratio: .95, P50: 1, P99: 2}.text())
	assert.Equal(t, "1.00 / 0.00 / 0.00 (2 errors)", cellResult{Ratio: 1, duel: duel{Swapped: score{Errors: 2}}}.text())
}

func TestCallsThatFailAreToldEvenWhereNoCellIsBelow(t *testing.T) {
	m := &matrix{results: []cellResult{{Ratio: 2, duel: duel{Swapped: score{Errors: 1}}}}}
	assert.ErrorContains(t, m.verdict(.95), "1 error")
	m.results[0].Swapped.Errors = 0
	assert.NoError(t, m.verdict(.95))
}

// The proxy is a way to a real server, too: a client that connects by it finds its data.
func TestASlowStatementBehindTheProxyTakesBoth(t *testing.T) {
	server := pgtest.Shared(t)
	c := &cluster{dsn: pgtest.DSN(t), server: server}
	for _, through := range []*cluster{c, {dsn: c.dsn}} { // by the socket, and by TCP
		w, err := through.way(time.Millisecond)
		require.NoError(t, err)
		db, err := openPgxPool(pgtest.With(c.dsn, pgtest.Via(w.address())), 2)
		require.NoError(t, err)
		var n int
		require.NoError(t, db.QueryRow("SELECT 7 FROM pg_sleep(0.001)").Scan(&n))
		assert.Equal(t, 7, n)
		w.far(0)
		require.NoError(t, db.QueryRow("SELECT 8").Scan(&n))
		assert.Equal(t, 8, n)
		require.NoError(t, db.Close())
		require.NoError(t, w.close())
	}
}
