package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/internal/disk"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// promisedWays are the columns of a case, as the page of the benchmark has them.
func promisedWays(c gridCase) (ways []string) {
	ways = []string{plainColumn, oursColumn}
	if c.failing > 0 || c.sync > 0 {
		return ways
	}
	ways = append(ways, oneColumn, "timer, 10 ms")
	switch {
	case c.open > 0 || c.load.name == "half updates, half reads" || c.load.name == "HTTP server, sqlx":
		return ways
	case c.driver == sqliteDriver:
		return append(ways, "loop by hand")
	}
	ways = append(ways, "pgx.Batch")
	switch c.load.name {
	case "insert":
		ways = append(ways, "CopyFrom", "unnest")
	case "upsert on 16 keys", "update by key", "INSERT RETURNING":
		ways = append(ways, "unnest")
	}
	return ways
}

// fewCallers makes a grid short: few callers, and few pools of which the best is found.
func fewCallers(t *testing.T) {
	pools, callers, loads, failing, syncs := gridPools, gridPoolCallers, workloads, failingShares, syncPrices
	t.Cleanup(func() {
		gridPools, gridPoolCallers, workloads, failingShares, syncPrices = pools, callers, loads, failing, syncs
	})
	failingShares, syncPrices, gridPoolCallers = failing[:2], syncs[:2], 8
	gridPools = map[string][]int{sqliteDriver: {1, 2}, pgxDriver: {2, 4}}
	workloads = slices.Clone(workloads)
	for i := range workloads {
		w := &workloads[i]
		w.callers, w.relaxed = []int{4}, nil
		if w.name == insertLoad.name {
			w.callers, w.relaxed = []int{1, curveCallers}, []int{4}
		}
	}
}

// aGrid measures a small grid, in memory where there is a folder for that, and checks every cell that is promised.
func aGrid(t *testing.T, driver, dsn string) (r *compareRun, folder string) {
	fewCallers(t)
	folder = t.TempDir()
	tmp, err := os.MkdirTemp(disk.Memory(), "bench-test-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(tmp) })
	t.Setenv("TMPDIR", tmp)
	t.Setenv("BENCH_AS_PROGRAM", "1") // for the children
	r = newCompareRun()
	fs := newFlagSet()
	r.flags(fs)
	require.NoError(t, fs.Parse([]string{"--driver", driver, "--time", "4ms", "--rounds", "2",
		"--json", filepath.Join(folder, "grid.json"), "--benchstat", filepath.Join(folder, "grid.txt"), "--svg", filepath.Join(folder, "svg"), "--html", filepath.Join(folder, "grid.html")}))
	r.dsn = dsn
	require.NoError(t, r.agree())
	var out bytes.Buffer
	require.NoError(t, r.measure(context.Background(), &out, &out, &out), "%s", &out)
	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	assert.Empty(t, left, "left in the temporary folder")
	if r.disk != nil && r.disk.refused == nil {
		assert.NoDirExists(t, r.disk.folder)
	}

	cells := map[string]gridCell{}
	for _, x := range r.cells {
		cells[x.of.String()+": "+x.Way] = x
		assert.Positive(t, x.PerSecond, x)
		assert.Positive(t, x.Calls, x)
		assert.Positive(t, x.P50, x)
		assert.LessOrEqual(t, x.P50, x.P99, x)
		assert.LessOrEqual(t, x.P99, x.P999, x)
		assert.Positive(t, x.Allocs, x)
		assert.NotEmpty(t, x.Rounds, x)
	}
	for _, c := range r.chosen() {
		if c.sync > 0 && r.disk.refused != nil {
			continue
		}
		line := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(c.String()) + ` \|.*$`).FindString(out.String())
		assert.NotEmpty(t, line, c)
		for _, way := range promisedWays(c) {
			assert.Contains(t, cells, c.String()+": "+way)
			delete(cells, c.String()+": "+way)
		}
		heads := len(strings.Split(line, "|")) - 3
		assert.Equal(t, heads-len(promisedWays(c)), strings.Count(line, " - "), "the others have a dash: %s", line)
	}
	assert.Empty(t, cells, "nobody has promised these")
	return r, folder
}

func TestTheGridHasEveryPromisedCellOnSQLite(t *testing.T) {
	r, folder := aGrid(t, sqliteDriver, "")
	filesOfAGrid(t, r, folder)
}

var wholeGrid = flag.Bool("grid", false, "measure the whole grid and every library on PostgreSQL, too, and not only some")

func TestTheGridHasEveryPromisedCellOnPostgreSQL(t *testing.T) {
	if !*wholeGrid {
		t.Skip("it takes long: -grid runs it. TestEveryColumnOfTheGridIsCheckedOnPostgreSQL does not")
	}
	c := shared(t)
	r, folder := aGrid(t, pgxDriver, c.dsn)
	filesOfAGrid(t, r, folder)
	assert.NotContains(t, strings.Join(tables(t, c.dsn), " "), "bench")
}

func filesOfAGrid(t *testing.T, r *compareRun, folder string) {
	text, err := os.ReadFile(filepath.Join(folder, "grid.json"))
	require.NoError(t, err)
	var got struct{ Cells []map[string]any }
	require.NoError(t, json.Unmarshal(text, &got))
	assert.Len(t, got.Cells, len(r.cells))
	for _, name := range []string{"database", "durability", "workload", "loop", "callers", "way", "per_second", "p50_us", "p99_us", "p999_us", "mean_group", "client_us", "server_us", "allocs_per_call", "rounds", "distribution"} {
		assert.Contains(t, got.Cells[0], name)
	}
	text, err = os.ReadFile(filepath.Join(folder, "grid.txt"))
	require.NoError(t, err)
	lines := 0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "Benchmark") {
			continue
		}
		lines++
		words := strings.Fields(line)
		assert.Regexp(t, `^Benchmark[A-Z]\S*/db=(sqlite3|pgx)/durability=\w+/loop=(open|closed)/\S*side=\w+/callers=\d+-\d+$`, words[0])
		assert.Zero(t, len(words)%2, "a name, a number of calls, and pairs: %s", line)
		for i := 2; i < len(words); i += 2 {
			_, err := strconv.ParseFloat(words[i], 64)
			assert.NoError(t, err, line)
		}
		assert.Contains(t, line, " ns/op\t")
		assert.Contains(t, line, " p99-ns\t")
	}
	var want []string
	for _, name := range []string{"failing", "http", "p99", "rate", "sync"} {
		if name == "sync" && (r.driver != sqliteDriver || r.disk.refused != nil) {
			continue
		}
		want = append(want, name+"-"+r.driver+".svg")
	}
	pictures, err := os.ReadDir(filepath.Join(folder, "svg"))
	require.NoError(t, err)
	var names []string
	for _, p := range pictures {
		names = append(names, p.Name())
		text, err := os.ReadFile(filepath.Join(folder, "svg", p.Name()))
		require.NoError(t, err)
		assert.True(t, wellFormed(t, text)["svg"] == 1, p.Name())
	}
	assert.Equal(t, want, names)
	text, err = os.ReadFile(filepath.Join(folder, "grid.html"))
	require.NoError(t, err)
	page := html.UnescapeString(string(text))
	assert.Equal(t, len(want), strings.Count(page, `<img src="data:image/svg+xml;base64,`))
	assert.NotRegexp(t, `(src|href)="?(https?:)?//`, page, "it needs no network")
	for _, c := range r.chosen() {
		if c.sync == 0 || r.disk.refused == nil {
			assert.Contains(t, page, "<td>"+c.String()+"</td>")
		}
	}
	rounds := 0
	for _, x := range r.cells {
		rounds += len(x.Rounds)
	}
	assert.Equal(t, rounds, lines)
}

// heatsOfGrid are the runs of all cases, with one share of calls that fail.
func heatsOfGrid(t *testing.T, g gridGround) (all []heat) {
	failing := failingShares
	t.Cleanup(func() { failingShares = failing })
	failingShares = failing[2:3]
	for _, c := range casesOf(g, []int{3}, false) {
		all = append(all, heat{runs: c.runs(2), rows: []row{{name: c.String()}}})
	}
	return all
}

func TestEveryColumnOfTheGridIsCheckedOnSQLite(t *testing.T) {
	checked(t, dir(t.TempDir()), heatsOfGrid(t, gridGrounds[0]))
}

func TestEveryColumnOfTheGridIsCheckedOnPostgreSQL(t *testing.T) {
	c := shared(t)
	c.synchronous = "on"
	checked(t, c, heatsOfGrid(t, gridGrounds[2]))
}

func TestTheGridOfEveryCombination(t *testing.T) {
	r := newCompareRun()
	r.driver, r.every = bothDrivers, true
	seen := map[string]bool{}
	for _, c := range r.chosen() {
		assert.False(t, seen[c.String()], "%v is there twice", c)
		seen[c.String()] = true
	}
	for _, g := range gridGrounds {
		for _, w := range workloads {
			for _, n := range []int{1, 8, 64, 256, 1024, 4096} {
				if !w.fixed {
					assert.True(t, seen[fmt.Sprintf("%v, %s, %s", g, w.name, plural(n, "caller"))])
				}
			}
		}
		assert.True(t, seen[g.String()+", HTTP server, sqlx, 200 clients"])
		assert.True(t, seen[g.String()+", INSERT RETURNING, open loop at 0.5 of plain's rate"])
	}
}

func TestTheFirstCallOfAGoroutineIsNotTimedAndEachMakesASecond(t *testing.T) {
	w := &work{users: unbounded, goroutines: 50, clock: newClock()}
	w.end()
	require.NoError(t, w.concurrently(context.Background(), func(int) error { time.Sleep(time.Millisecond); return nil }))
	assert.Equal(t, 100, w.made())
	times := w.clock.take()
	assert.EqualValues(t, 50, times.TotalCount())
	assert.GreaterOrEqual(t, quantileOf(times, .5), 1000.0)
	assert.Zero(t, w.clock.take().TotalCount(), "they are taken once")
}

func TestEveryOtherCallOfHalfReadsWrites(t *testing.T) {
	assert.Equal(t, 2, halfReads.want(3))
	assert.Equal(t, 2, halfReads.want(4))
	assert.Equal(t, 3, hotUpserts.want(3))
}

func TestATimerAnswersWithTheErrorOfItsCommit(t *testing.T) {
	lost := fmt.Errorf("lost")
	b := newTimerBatch(func(rows []int) error {
		if rows[0] == 7 {
			return lost
		}
		return nil
	})
	defer b.stop()
	assert.NoError(t, b.call(1))
	assert.Equal(t, lost, b.call(7))
}

func TestCtrlCEndsAChildOnAMadeDiskAndLeavesNothing(t *testing.T) {
	cmd, _, errs, tmp := program(t, "compare", "--driver", "sqlite3", "--only", "sync takes 10ms", "--time", "1h")
	cmd.Stdout = nil
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var folder string
	for lines := bufio.NewScanner(out); folder == "" && lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "Left out: ") {
			_ = cmd.Process.Signal(syscall.SIGINT)
			_ = cmd.Wait()
			t.Skip(lines.Text())
		}
		if rest, ok := strings.CutPrefix(lines.Text(), "It is "); ok {
			folder, _, _ = strings.Cut(rest, ",")
		}
	}
	require.NotEmpty(t, folder, errs)
	require.Eventually(t, func() bool {
		files, _ := filepath.Glob(filepath.Join(folder, "disk", "run-*.db"))
		return len(files) > 0
	}, 20*time.Second, 5*time.Millisecond)
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	_ = cmd.Wait()
	assert.Equal(t, exitInterrupted, cmd.ProcessState.ExitCode())
	assert.Equal(t, "bench: interrupted\n", errs.String())
	assert.NoDirExists(t, folder)
	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	assert.Empty(t, left)
}
