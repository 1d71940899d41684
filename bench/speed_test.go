package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func everyRow() (all []row) {
	for _, h := range append(sqliteHeats(), postgresHeats(16)...) {
		all = append(all, h.rows...)
	}
	return all
}

func TestEveryGoalStandsInGOALSWithItsBound(t *testing.T) {
	text, err := os.ReadFile("GOALS.md")
	require.NoError(t, err)
	names := map[string]bool{}
	for _, x := range everyRow() {
		assert.False(t, names[x.name], "%s is measured twice", x.name)
		names[x.name] = true
		if x.goal.none() {
			assert.NotContains(t, string(text), "| "+x.name+" |")
			continue
		}
		bound := x.goal.bound
		if bound == "" {
			bound = "-"
		}
		assert.Contains(t, string(text), fmt.Sprintf("\n| %s | %s | %s | ", x.name, x.goal.words(), bound))
	}
	for line := range strings.Lines(string(text)) {
		if name, _, ok := strings.Cut(strings.TrimPrefix(line, "| "), " | "); ok && line[0] == '|' && name != "case" {
			assert.True(t, names[name], "nothing measures %q", name)
		}
	}
}

// made are rounds of two sides.
func made(ours, theirs run, rates ...float64) (rounds []round) {
	for _, x := range rates {
		rounds = append(rounds, round{sync: 50 * time.Microsecond, of: map[string]slice{
			ours.label():   {calls: int(100 * x), took: time.Second},
			theirs.label(): {calls: 100, took: time.Second},
		}})
	}
	return rounds
}

func TestARowIsTheMedianOfTheRoundsRatiosWithItsQuartiles(t *testing.T) {
	h := manyOnSQLite()
	res := h.rows[0].result(&lab{place: dir("")}, made(h.runs[1], h.runs[0], .5, .1, .7, .6, .8))
	assert.Equal(t, "| SQLite FULL, 1,024 goroutines / hand-written prepared loop of 1,000 rows a transaction | **0.60** (0.50 to 0.70), not reached | at least 0.75 | "+
		"0.95 to 1.25, lower the faster the disk | ours 60, 0.00 µs; by hand 100, 0.00 µs |", res.String())
	assert.False(t, res.Reached)
	assert.True(t, h.rows[0].result(&lab{place: dir("")}, made(h.runs[1], h.runs[0], .75)).Reached)
}

func TestTheGoalBesideAPlainConnectionIsMadeOfThisRunsSync(t *testing.T) {
	h := someOnSQLite()
	rounds := made(h.runs[1], h.runs[0], 2000, 3000, 1000)
	res := h.rows[0].result(&lab{place: dir("")}, rounds)
	// 0.9 · 64 · 10 ms / (50 µs + 150 µs)
	assert.InDelta(t, 2880, res.Reach, 1e-6)
	assert.Contains(t, res.String(), "**2000.0** (1500.0 to 2500.0), not reached | 2880.0 = "+fsyncShare+" |")
	assert.Contains(t, res.String(), "t(plain) 10.0 ms, t(sync) 50 µs")
}

func TestProcessorTimeThatIsNotKnownIsSaidSo(t *testing.T) {
	r := onPostgres("ours", pgxGrouped, 1, 1)
	l := &lab{place: &cluster{}}
	rounds := []round{{of: map[string]slice{"ours": {calls: 10, took: time.Second, spent: used{client: 50 * time.Microsecond, server: notKnown}}}}}
	assert.Equal(t, "5.00 µs + not known", l.processor(rounds, r))
	rounds[0].of["ours"] = slice{calls: 10, spent: used{client: 50 * time.Microsecond, server: 2 * time.Millisecond}}
	assert.Equal(t, "5.00 µs + 200 µs", l.processor(rounds, r))
}

// tiny is a run of the mode speed that takes no time.
func tiny(r run) run {
	r.users, r.goroutines, r.known, r.conns = 130, min(r.goroutines, 4), min(r.known, 130), min(r.conns, 2)
	if r.known > 0 {
		r.users = 60 // of those that are known
	}
	if r.synchronous != "" {
		r.synchronous = "off"
	}
	return r
}

// forgetting is a run that loses what one call has left.
func forgetting(r run) run {
	whole := r.api
	r.api = func(ctx context.Context, db *sql.DB, w *work) error {
		if err := whole(ctx, db, w); err != nil {
			return err
		}
		lose := "DELETE FROM " + w.table + " WHERE id = (SELECT max(id) FROM " + w.table + ")"
		if w.shape != nil && strings.Contains(w.shape.left, "sum") {
			lose = "UPDATE " + w.table + " SET n = n - 1 WHERE k = 4"
		} else if w.shape != nil && w.shape.twice {
			lose = "DELETE FROM " + w.table + " WHERE id < 3"
		}
		_, err := db.Exec(lose)
		return err
	}
	return r
}

// checked makes each kind of run of the heats. The last one of each heat loses something, and must find out.
func checked(t *testing.T, p place, heats []heat) {
	done := map[string]bool{}
	for _, h := range heats {
		for i, r := range h.runs {
			what := h.rows[0].name + ": " + r.label()
			r = tiny(r)
			if i == len(h.runs)-1 {
				_, err := (&lab{place: p}).alone(context.Background(), forgetting(r))
				assert.ErrorContains(t, err, "the database is wrong", what)
				continue
			}
			key := fmt.Sprint(r.side.String(), r.via, r.alone, r.shape, r.clash, r.ids, r.known, r.reopened)
			if done[key] {
				continue
			}
			done[key] = true
			_, err := (&lab{place: p}).alone(context.Background(), r)
			require.NoError(t, err, what)
		}
	}
}

func TestEverySideOnSQLiteIsChecked(t *testing.T) {
	checked(t, dir(t.TempDir()), sqliteHeats())
}

func TestEverySideOnPostgreSQLIsChecked(t *testing.T) {
	c := shared(t)
	checked(t, c, postgresHeats(3)) // each connection is a process of the server
	assert.NotContains(t, strings.Join(tables(t, c.dsn), " "), "bench")
}

func TestTheModeSpeedPrintsTheRowsThatWereAskedFor(t *testing.T) {
	code, out, errs := runProgram(t, "speed", "--driver", "sqlite3", "--time", "20ms", "--slice", "5ms", "--only", "one goroutine /", "--json", "-")
	require.Zero(t, code, errs)
	rows := decodedList(t, []byte(out), "rows")
	require.Len(t, rows, 2)
	for i, name := range []string{"SQLite FULL, one goroutine / plain, call by call", "SQLite NORMAL, one goroutine / plain, call by call"} {
		assert.Equal(t, name, rows[i]["case"])
		assert.Len(t, rows[i]["rounds"], 4)
		assert.Positive(t, rows[i]["median"])
		for _, side := range rows[i]["sides"].([]any) {
			assert.Positive(t, side.(map[string]any)["client_us"])
			assert.Positive(t, side.(map[string]any)["p50_us"])
		}
		assert.Contains(t, errs, "| "+name+" | ")
	}
	assert.Contains(t, errs, "A sync on this disk: ")
	assert.Contains(t, errs, "of 2 goals are reached")
}

func TestTheModeSpeedMeasuresTheServersProcessorToo(t *testing.T) {
	usual := triedPools
	defer func() { triedPools = usual }()
	triedPools = []int{2, 4}
	ctx := context.Background()
	var out strings.Builder
	r := newSpeedRun()
	r.out, r.only, r.time, r.slice = &out, "open loop", 40*time.Millisecond, 10*time.Millisecond
	l, err := newLab(shared(t), &out, bar{})
	require.NoError(t, err)
	defer l.close()
	heats, err := r.onServer(ctx, l)
	require.NoError(t, err)
	require.Len(t, heats, 1)
	require.NoError(t, r.heat(ctx, l, heats[0]))
	require.Len(t, r.results, 1)
	_, known := os.Stat("/proc/self/schedstat")
	for _, side := range r.results[0].Sides {
		assert.Positive(t, side.P50)
		assert.Equal(t, known == nil, side.Server > 0, "%f µs", side.Server)
	}
	assert.Contains(t, out.String(), "The best pool is ")
	assert.Contains(t, out.String(), "| PostgreSQL, open loop at half of plain's best rate, p50 / plain's | ")
}

func TestTheTableIsTheModeSpeed(t *testing.T) {
	r := newSpeedRun()
	r.only = "replays of old"
	assert.EqualError(t, r.agree(), `--only "replays of old" is in no row's name`)
	c, err := parseFlags([]string{"--table", "--driver", "pgx", "--rounds", "3"})
	require.NoError(t, err)
	r = tableOf(c)
	assert.Equal(t, pgxDriver, r.driver)
	assert.Equal(t, 3, r.pace().slices)
}

func TestWhatAServerHasNoRoomOrNoLeaveForIsLeftOut(t *testing.T) {
	for room, left := range map[int]bool{500: false, 60: true} {
		var out strings.Builder
		r := newSpeedRun()
		r.out, r.only = &out, "64"
		fit, err := r.onServer(context.Background(), &lab{place: &cluster{room: room, server: new(pgtest.Server)}})
		require.NoError(t, err)
		assert.Equal(t, left, len(fit) == 0, room)
		assert.Equal(t, left, strings.Contains(out.String(), "Left out: PostgreSQL, 64 goroutines / plain on 64 connections; max_connections leaves room for 60"))
	}
}

func TestAfterARestartTheProgramRemembersNothing(t *testing.T) {
	runs := replaysOnSQLite().runs
	for i, lookedUp := range []bool{false, true} {
		var dbs []*sql.DB
		var calls []int64
		r := runs[i+1]
		r.users, r.known, r.goroutines, r.synchronous = 300, 300, 4, "off"
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
		res, err := (&lab{place: dir(t.TempDir())}).alone(context.Background(), r)
		require.NoError(t, err)
		assert.Equal(t, 300, res.Rows)
		require.Len(t, dbs, 2)
		assert.Equal(t, lookedUp, dbs[0] != dbs[1])
		assert.EqualValues(t, 300, calls[0])
		assert.Equal(t, lookedUp, calls[1] > 0, "%d calls went to the database", calls[1])
	}
}

// stub is an entrant without a database, which makes ten calls a slice.
func stub(name string, order *string, users int) *entrant {
	e := &entrant{name: name, w: &work{users: users}}
	e.count = oneEach
	e.api = func(context.Context, *sql.DB, *work) error {
		*order += name
		e.w.next.Add(10)
		return nil
	}
	return e
}

func TestEntrantsTakeTurnsEveryOtherTimeTheOtherWayRound(t *testing.T) {
	order := ""
	all := []*entrant{stub("a", &order, unbounded), stub("b", &order, unbounded)}
	rounds, err := (&lab{}).turns(context.Background(), pace{warm: time.Millisecond, slice: time.Millisecond, slices: 3}, all)
	require.NoError(t, err)
	assert.Equal(t, "ab"+"ab"+"ba"+"ab", order) // the first two warm up
	require.Len(t, rounds, 3)
	for _, r := range rounds {
		for _, name := range []string{"a", "b"} {
			assert.Equal(t, 10, r.of[name].calls)
			assert.Equal(t, 10, r.of[name].commits)
			assert.Positive(t, r.of[name].rate())
		}
	}
	assert.Equal(t, 30, all[0].total().calls)
}

func TestAnEntrantThatHasMadeItsCallsHasNoOtherTurn(t *testing.T) {
	order := ""
	all := []*entrant{stub("a", &order, 5), stub("b", &order, 25)}
	rounds, err := (&lab{}).turns(context.Background(), pace{slice: time.Millisecond, slices: unbounded}, all)
	require.NoError(t, err)
	assert.Equal(t, "ab"+"b"+"b", order)
	assert.Len(t, rounds, 3)
	assert.Equal(t, 5, all[0].total().calls)
	assert.Equal(t, 25, all[1].total().calls)
}

func TestACallOfAPairIsComparedWithTheOneBesideIt(t *testing.T) {
	theirs, ours := pairedOnSQLite("full", target{}).runs[0], pairedOnSQLite("full", target{}).runs[1]
	rounds := []round{{of: map[string]slice{theirs.label(): {p50: 100, pair: 1}, ours.label(): {p50: 90, pair: 1.25}}}}
	res := pairedOnSQLite("full", atLeast(.98, "1.0")).rows[0].result(&lab{place: dir("")}, rounds)
	assert.Equal(t, .8, res.Median, "a call of 1.25 times the time is 0.8 of the rate, whatever the medians are")
	assert.False(t, res.Reached)
}

func TestAnErrorEndsAHeatAndLeavesNothing(t *testing.T) {
	folder := t.TempDir()
	r := onSQLite("ours", grouped, 4, "off")
	r.api = func(context.Context, *sql.DB, *work) error { return errors.New("lost") }
	_, err := (&lab{place: dir(folder)}).alone(context.Background(), r)
	assert.EqualError(t, err, "ours: lost")
	left, err := os.ReadDir(folder)
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestTheProfileOfTheProcessorIsWritten(t *testing.T) {
	for _, args := range []string{"--users 50", "speed --driver sqlite3 --time 2ms --slice 1ms --only NORMAL"} {
		file := filepath.Join(t.TempDir(), "cpu.out")
		code, _, errs := runProgram(t, append(strings.Fields(args), "--cpuprofile", file)...)
		assert.Zero(t, code, errs)
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.True(t, bytes.HasPrefix(text, []byte{0x1f, 0x8b}), "a profile is compressed by gzip")
	}
}

func TestArrivalsComeAtTheirRateAndTheSameForBothSides(t *testing.T) {
	due := arrivals(1000, 20*time.Second, 7)
	assert.InDelta(t, 20_000, len(due), 1000)
	assert.True(t, slices.IsSorted(due))
	assert.Equal(t, due, arrivals(1000, 20*time.Second, 7))
	assert.NotEqual(t, due, arrivals(1000, 20*time.Second, 8))
}

func TestAnIDOfVersion4IsOne(t *testing.T) {
	id, err := uuid.Parse(randomID())
	require.NoError(t, err)
	assert.EqualValues(t, 4, id.Version())
	assert.Equal(t, uuid.RFC4122, id.Variant())
	assert.NotEqual(t, randomID(), randomID())
}

func TestTheProcessorTimeOfThisProgramIsWhatItHasUsed(t *testing.T) {
	if ownProcessorTime() == notKnown {
		t.Skip("not known here")
	}
	m := &meter{}
	before := m.start()
	for start := ownProcessorTime(); ownProcessorTime() < start+20*time.Millisecond; {
	}
	d := m.since(before)
	assert.GreaterOrEqual(t, d.client, 20*time.Millisecond)
	assert.Equal(t, notKnown, d.server)
	assert.Equal(t, notKnown, d.add(used{server: time.Second}).server, "what is not known in part is not known")
}

func TestWhatReadingAMeterCostsIsInNoDifference(t *testing.T) {
	m := &meter{&processes{os.Getpid()}}
	if m.server.time() == notKnown {
		t.Skip("not known here")
	}
	before := m.start()
	d := m.since(before)
	assert.LessOrEqual(t, d.allocs, uint64(2), "reading /proc allocates a dozen")
}

func TestThousandsAreSeparated(t *testing.T) {
	for n, want := range map[string]int{"0": 0, "999": 999, "1,000": 1000, "1,234,567": 1234567, "-1,000": -1000, "-100": -100} {
		assert.Equal(t, n, comma(want))
	}
}
