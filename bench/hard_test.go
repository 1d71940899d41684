package main

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// shared is the tests' server, as if this program had started it.
func shared(t *testing.T) *cluster {
	server := pgtest.Shared(t)
	c, err := startCluster(context.Background(), pgtest.DSN(t), 0)
	require.NoError(t, err)
	c.server = server
	db, err := openPgxPool(c.dsn, 1)
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.QueryRow("SHOW data_directory").Scan(&c.folder))
	return c
}

// aGlance is a pace that takes no time.
var aGlance = pace{slice: 10 * time.Millisecond, slices: 1}

func TestEveryHardCaseIsMeasuredAndLeavesNothing(t *testing.T) {
	c := shared(t)
	h := &hard{server: c, pace: aGlance, most: 2} // each connection is a process of the server
	like := []string{                             // others that are measured, but for a number
		"64 callers, 4 ms statements", "64 callers, 20 ms statements, only the name swapped", "10 innocents beside 350 callers who wait for a locked row",
		"256 goroutines that read, 20 ms pauses", "PostgreSQL, SELECT by key, 64 goroutines", "SQLite, SELECT by key, no writers, 64 goroutines",
	}
	for _, hc := range hardCases {
		if i := slices.Index(like, hc.name); i >= 0 {
			like = slices.Delete(like, i, i+1)
			continue
		}
		require.Empty(t, h.unfit(hc), hc.name)
		d, err := hc.duel(context.Background(), h)
		require.NoError(t, err, hc.name)
		assert.Positive(t, d.Plain.Calls, hc.name)
		assert.Positive(t, d.Swapped.Calls, hc.name)
		assert.Zero(t, d.Plain.Errors, "%s: %s", hc.name, d.Plain.Fault)
	}
	assert.Empty(t, like, "no case's name")
	assert.Empty(t, tables(t, c.dsn))
	db, err := openPgxPool(c.dsn, 1)
	require.NoError(t, err)
	defer db.Close()
	var roles int
	require.NoError(t, db.QueryRow("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'groupcommit%'").Scan(&roles))
	assert.Zero(t, roles)
}

func TestTheModeHardPrintsEachCaseWithItsGoals(t *testing.T) {
	dsn := pgtest.DSN(t)
	code, out, errs := runProgram(t, "hard", "--dsn", dsn, "--slice", "5ms", "--warm", "0s", "--slices", "2", "--cases", ", 1 goroutine", "--json", "-")
	require.Zero(t, code, errs)
	cases := decodedList(t, []byte(out), "cases")
	require.Len(t, cases, 2)
	for _, c := range cases {
		assert.Contains(t, errs, "| "+c["case"].(string)+" | ")
	}
	assert.Contains(t, errs, "(at least 0.95)")
	assert.Contains(t, errs, "of 2 cases reach their goals")
	assert.Empty(t, tables(t, dsn))
}

func TestCasesThatDoNotFitTheServerAreLeftOut(t *testing.T) {
	h := &hard{server: &cluster{room: 97}}
	assert.Equal(t, "max_connections leaves room for 97, and it needs 200", h.unfit(hardCases[0]))
	assert.Equal(t, "it makes roles", h.unfit(poolCases[1]))
	assert.Empty(t, h.unfit(hardCase{need: 97}))
}

func TestAGoalThatIsMissedIsMarked(t *testing.T) {
	r := hardResult{Case: "a case", Ratio: .94, P99: 1.3, of: hardCase{rate: .95, p99: 1.2}}
	assert.False(t, r.reached())
	assert.Contains(t, r.String(), "| a case | **0.94**, not reached (at least 0.95) | **1.30**, not reached (at most 1.20) |")
	r.Ratio, r.P99 = .95, 1.2
	assert.True(t, r.reached())
	assert.Contains(t, r.String(), "| 0.95 (at least 0.95) | 1.20 (at most 1.20) |")
	r.Swapped.Errors = 1
	assert.False(t, r.reached(), "an error is never reached")
	r.Swapped.Errors, r.Ratio, r.of.rate = 0, 0, 0
	assert.True(t, r.reached(), "where the rate says nothing")
	assert.Contains(t, r.String(), "| a case | - |")
}

func TestALostUpsertIsFoundInTheSum(t *testing.T) {
	ctx := context.Background()
	c, err := startCluster(ctx, pgtest.DSN(t), 0)
	require.NoError(t, err)
	tables, err := c.scratch(ctx, 1, "(k int PRIMARY KEY, n bigint)")
	require.NoError(t, err)
	db, err := openPgxPool(c.dsn, 1)
	require.NoError(t, err)
	defer db.Close()
	row := &lockedRow{stranger: db, table: tables[0], made: 3}
	by := &contender{name: "somebody"}
	by.made.Store(3)
	for n, wrong := range map[string]bool{"2": true, "3": false, "4": true} {
		require.NoError(t, c.fill(ctx, "DELETE FROM T; INSERT INTO T VALUES (0, "+n+")", tables[0]))
		assert.Equal(t, wrong, summed(ctx, c, tables[0], by) != nil, n)
		assert.Equal(t, wrong, row.check(ctx) != nil, n)
	}
	require.NoError(t, c.clear(tables...))
}

func TestTheCallersWaitWhileTheStrangerHoldsTheRow(t *testing.T) {
	ctx := context.Background()
	c, err := startCluster(ctx, pgtest.DSN(t), 0)
	require.NoError(t, err)
	accounts, err := c.scratch(ctx, 1, "(id int PRIMARY KEY, n int)")
	require.NoError(t, err)
	require.NoError(t, c.fill(ctx, "INSERT INTO T VALUES (0, 0)", accounts[0]))
	db, err := openPgxPool(c.dsn, 4)
	require.NoError(t, err)
	defer db.Close()
	faults := &contender{}
	row, err := newLockedRow(c, db, accounts[0], 3, faults)
	require.NoError(t, err)
	defer row.close()
	row.round(func() {
		var n int
		require.NoError(t, db.QueryRow("SELECT n FROM "+accounts[0]).Scan(&n))
		assert.Zero(t, n, "nobody has passed the stranger")
	})
	assert.Equal(t, 3, row.made)
	assert.Zero(t, faults.faults.count())
	assert.NoError(t, row.check(ctx))
	require.NoError(t, c.clear(accounts...))
}
