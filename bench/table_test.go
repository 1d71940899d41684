package main

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func made(perSecond ...float64) []round {
	var rounds []round
	for _, x := range perSecond {
		r := round{}
		for _, of := range sqliteGrid.runs {
			r[of.name] = result{PerSecond: 100, MeanGroup: 60, Allocs: 9}
		}
		r[ours64.name] = result{PerSecond: 100 * x, MeanGroup: 60, Allocs: 9}
		rounds = append(rounds, r)
	}
	return rounds
}

func TestTheTableShowsTheMedianOfTheRoundsRatios(t *testing.T) {
	line := sqliteGrid.cases[0].cell(made(50, 10, 45))
	assert.Equal(t, "**45.0 times** (10.0 to 50.0); 4,500 against 100 inserts a second", line)
}

func TestTheTableSaysWhatWasNotReached(t *testing.T) {
	assert.Contains(t, sqliteGrid.cases[0].cell(made(39)), "**39.0 times**, not reached")
	assert.NotContains(t, sqliteGrid.cases[0].cell(made(40)), "not reached")
	few := made(1)
	few[0][ours64.name] = result{Allocs: 9.5}
	assert.Contains(t, sqliteGrid.cases[5].cell(few), "**1.06 times as many**, not reached")
}

func TestThePlainDriverCountsAtItsBestPool(t *testing.T) {
	r := round{pgOurs1024.name: {PerSecond: 900}, pgPools[0].name: {PerSecond: 60}, pgPools[1].name: {PerSecond: 90}}
	line := postgresGrid.cases[0].cell([]round{r})
	assert.Equal(t, "**10.0 times**; 900 against 60 on 16, 90 on 64 inserts a second", line)
}

func TestPoolsThatTheServerHasNoRoomForAreLeftOut(t *testing.T) {
	for room, left := range map[int]int{300: 12, 97: 11, 20: 8} {
		g := (&cluster{room: room, server: new(pgtest.Server)}).grid()
		assert.Len(t, g.runs, left)
		assert.Len(t, g.notes, 1+12-left)
	}
	assert.Len(t, postgresGrid.runs, 12)
}

func TestCallsWithIDsAreLeftOutOnSomebodysServer(t *testing.T) {
	g := (&cluster{room: 300}).grid()
	assert.Len(t, g.runs, 11)
	assert.Contains(t, g.notes[1], "ids")
}

func TestCommandsHaveToReachTheRateOfExec(t *testing.T) {
	line := sqliteGrid.cases[len(sqliteGrid.cases)-1]
	assert.Equal(t, "commands, 1,024 promises in flight, against Exec with 1,024 goroutines", line.name)
	assert.Equal(t, "at least 1.00 of its rate", line.target())
	r := round{inWindow.name: {PerSecond: 99}, ours1024.name: {PerSecond: 100}}
	assert.Equal(t, "**0.99 of its rate**, not reached; 99 against 100 inserts a second", line.cell([]round{r}))
	r[inWindow.name] = result{PerSecond: 100}
	assert.Equal(t, "**1.00 of its rate**; 100 against 100 inserts a second", line.cell([]round{r}))
}

func TestReplaysAreMeasuredWithAndWithoutTheProgramsMemory(t *testing.T) {
	r := round{replayed.name: {PerSecond: 900}, restarted.name: {PerSecond: 200}, oursIDs.name: {PerSecond: 100}}
	for words, want := range map[string]string{
		"of 10,000 ids that the program remembers": "**9.0 times**; 900 against 100 inserts a second",
		"after a restart, each looked up":          "**2.0 times**, not reached; 200 against 100 inserts a second",
	} {
		i := slices.IndexFunc(sqliteGrid.cases, func(c tableCase) bool { return strings.Contains(c.name, words) })
		require.GreaterOrEqual(t, i, 0, words)
		assert.Equal(t, want, sqliteGrid.cases[i].cell([]round{r}))
	}
}

// Each run is small here, and must find out if a value is lost.
func TestEverySQLiteRunOfTheTableIsChecked(t *testing.T) {
	for _, r := range sqliteGrid.runs {
		l := &lab{place: dir(t.TempDir())}
		r.users, r.goroutines, r.synchronous = 1500, min(r.goroutines, 16), "off"
		res, err := l.do(context.Background(), r)
		require.NoError(t, err, r.name)
		assert.Equal(t, 1500, res.Rows, r.name)
		whole := r.api
		r.api = func(ctx context.Context, db *sql.DB, w *work) error {
			if err := whole(ctx, db, w); err != nil {
				return err
			}
			_, err := db.Exec("DELETE FROM users WHERE value = 4")
			return err
		}
		_, err = l.do(context.Background(), r)
		assert.ErrorContains(t, err, "missing: 4", r.name)
	}
}

func TestAfterARestartTheProgramRemembersNothing(t *testing.T) {
	for _, c := range []struct {
		run      run
		lookedUp bool
	}{{replayed, false}, {restarted, true}} {
		var dbs []*sql.DB
		var calls []int64
		r := c.run
		r.users, r.goroutines, r.synchronous = 300, 4, "off"
		r.api = func(ctx context.Context, db *sql.DB, w *work) error {
			before, err := groupcommit.StatsOf(db)
			require.NoError(t, err)
			if err := execs(ctx, db, w); err != nil {
				return err
			}
			after, err := groupcommit.StatsOf(db)
			require.NoError(t, err)
			dbs, calls = append(dbs, db), append(calls, after.Calls-before.Calls)
			return nil
		}
		res, err := (&lab{place: dir(t.TempDir())}).do(context.Background(), r)
		require.NoError(t, err)
		assert.Equal(t, 300, res.Rows)
		require.Len(t, dbs, 2)
		assert.Equal(t, c.lookedUp, dbs[0] != dbs[1])
		assert.EqualValues(t, 300, calls[0])
		assert.Equal(t, c.lookedUp, calls[1] > 0, "%d calls went to the database", calls[1])
	}
}

func TestTheTableIsMarkdown(t *testing.T) {
	var b strings.Builder
	sqliteGrid.markdown(&b, made(1, 2))
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	assert.Len(t, lines, 2+len(sqliteGrid.cases))
	for _, l := range lines {
		assert.Equal(t, 4, strings.Count(l, "|"), l)
	}
}

func TestThousandsAreSeparated(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -100: "-100"} {
		assert.Equal(t, want, comma(n))
	}
}
