package prom_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	_ "github.com/groupcommit/groupcommit/pgx"
	"github.com/groupcommit/groupcommit/prom"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	_ "github.com/groupcommit/groupcommit/sqlite3"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

func openSQLite(t *testing.T, driver string) *sql.DB {
	t.Helper()
	return open(t, driver, "file:"+filepath.Join(t.TempDir(), "test.db")+"?_journal=WAL&_sync=OFF&groupcommit_promises=on")
}

func openPostgres(t *testing.T) *sql.DB {
	t.Helper()
	return open(t, "pgx-groupcommit", pgtest.DSN(t, pgtest.Param("groupcommit_promises", "on")))
}

// open makes a database with a table whose keys are unique, which has one row.
func open(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	for _, query := range []string{"CREATE TABLE a (k INTEGER UNIQUE)", "INSERT INTO a VALUES (-1)"} {
		_, err = db.ExecContext(groupcommit.NoBatch(t.Context()), query)
		require.NoError(t, err)
	}
	return db
}

// load makes so many calls at the same time. Half of them fail, because their key is that of another.
func load(db *sql.DB, n int) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { db.Exec(fmt.Sprintf("INSERT INTO a VALUES (%d)", i/2)) })
	}
	all.Wait()
}

func gather(t *testing.T, g prometheus.Gatherer) map[string]*dto.MetricFamily {
	t.Helper()
	families, err := g.Gather()
	require.NoError(t, err)
	by := make(map[string]*dto.MetricFamily)
	for _, f := range families {
		by[f.GetName()] = f
	}
	return by
}

// labelled are the values of a metric by their labels, without the database's.
func labelled(f *dto.MetricFamily) map[string]float64 {
	values := make(map[string]float64)
	for _, m := range f.GetMetric() {
		var labels []string
		for _, l := range m.GetLabel() {
			if l.GetName() != "db_name" {
				labels = append(labels, l.GetValue())
			}
		}
		values[strings.Join(labels, " ")] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	maps.DeleteFunc(values, func(_ string, v float64) bool { return v == 0 })
	return values
}

func registry(t *testing.T, collectors ...prometheus.Collector) *prometheus.Registry {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	for _, c := range collectors {
		require.NoError(t, r.Register(c))
	}
	return r
}

func TestALoadIsCollected(t *testing.T) {
	for name, db := range map[string]*sql.DB{"sqlite": openSQLite(t, "sqlite3-groupcommit"), "postgres": openPostgres(t)} {
		t.Run(name, func(t *testing.T) {
			r := registry(t, prom.NewCollector(db, name))
			load(db, 200)
			_, err := db.ExecContext(groupcommit.WithID(t.Context(), "x"), "INSERT INTO a VALUES (1000)")
			require.NoError(t, err)
			_, err = db.ExecContext(groupcommit.WithID(t.Context(), "x"), "INSERT INTO a VALUES (1000)")
			require.NoError(t, err)
			got := gather(t, r)
			s, err := groupcommit.StatsOf(db)
			require.NoError(t, err)
			for metric, want := range map[string]map[string]float64{
				"groupcommit_up":                     {"": 1},
				"groupcommit_calls_total":            {"": float64(s.Calls)},
				"groupcommit_queued":                 {},
				"groupcommit_oldest_wait_seconds":    {},
				"groupcommit_errors_total":           {"constraint": 100},
				"groupcommit_apart_total":            apart(s),
				"groupcommit_replays_total":          {"": 1},
				"groupcommit_unknown_outcomes_total": {},
				"groupcommit_reruns_total":           nonzero(s.Reruns),
				"groupcommit_late_groups_total":      nonzero(s.Late),
				"groupcommit_lanes":                  nonzero(int64(s.Lanes)),
			} {
				require.Contains(t, got, metric)
				require.Equal(t, want, labelled(got[metric]), metric)
			}
			groups := 0.
			for _, n := range labelled(got["groupcommit_groups_total"]) {
				groups += n
			}
			require.EqualValues(t, s.Groups, groups)
			for metric, h := range map[string]*groupcommit.Histogram{
				"groupcommit_group_size": &s.Sizes, "groupcommit_call_seconds": &s.Latencies, "groupcommit_wait_seconds": &s.Waits, "groupcommit_commit_seconds": &s.Commits,
			} {
				unit := 1e9
				if metric == "groupcommit_group_size" {
					unit = 1
				}
				collected := got[metric].GetMetric()[0].GetHistogram()
				require.EqualValues(t, h.Count(), collected.GetSampleCount(), metric)
				require.InDelta(t, float64(h.Sum())/unit, collected.GetSampleSum(), 1e-9, metric)
			}
		})
	}
}

func apart(s groupcommit.Stats) map[string]float64 {
	values := make(map[string]float64)
	for why, n := range s.Apart {
		values[why.Label()] = float64(n)
	}
	return values
}

func nonzero(n int64) map[string]float64 {
	if n == 0 {
		return map[string]float64{}
	}
	return map[string]float64{"": float64(n)}
}

func TestTheNamesKeepTheRulesOfPrometheus(t *testing.T) {
	db := openSQLite(t, "sqlite3-groupcommit")
	handled(t, db)
	load(db, 10)
	problems, err := testutil.GatherAndLint(registry(t, prom.NewCollector(db, "main")))
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestTwoDatabasesAreInOneRegistry(t *testing.T) {
	one, other := openSQLite(t, "sqlite3-groupcommit"), openPostgres(t)
	r := registry(t, prom.NewCollector(one, "one"), prom.NewCollector(other, "other"))
	load(one, 4)
	load(other, 6)
	require.NoError(t, testutil.GatherAndCompare(r, strings.NewReader(`
# HELP groupcommit_errors_total Calls that ended with an error, by its class.
# TYPE groupcommit_errors_total counter
groupcommit_errors_total{class="busy",db_name="one"} 0
groupcommit_errors_total{class="canceled",db_name="one"} 0
groupcommit_errors_total{class="connection",db_name="one"} 0
groupcommit_errors_total{class="constraint",db_name="one"} 2
groupcommit_errors_total{class="other",db_name="one"} 0
groupcommit_errors_total{class="storage",db_name="one"} 0
groupcommit_errors_total{class="busy",db_name="other"} 0
groupcommit_errors_total{class="canceled",db_name="other"} 0
groupcommit_errors_total{class="connection",db_name="other"} 0
groupcommit_errors_total{class="constraint",db_name="other"} 3
groupcommit_errors_total{class="other",db_name="other"} 0
groupcommit_errors_total{class="storage",db_name="other"} 0
`), "groupcommit_errors_total"))
	require.Error(t, r.Register(prom.NewCollector(other, "one")), "the name is taken")
}

func TestTheHandlerServesThem(t *testing.T) {
	db := openSQLite(t, "sqlite3-groupcommit")
	load(db, 20)
	server := httptest.NewServer(promhttp.HandlerFor(registry(t, prom.NewCollector(db, "main")), promhttp.HandlerOpts{}))
	defer server.Close()
	res, err := server.Client().Get(server.URL)
	require.NoError(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, 200, res.StatusCode, "%s", text)
	require.Contains(t, string(text), `groupcommit_call_seconds_count{db_name="main"} 20`)
	require.Contains(t, string(text), `groupcommit_errors_total{class="constraint",db_name="main"} 10`)
	require.Contains(t, string(text), `groupcommit_errors_total{class="storage",db_name="main"} 0`)
}

func TestADatabaseThatCannotBeAskedIsDownAndHidesNoOther(t *testing.T) {
	plain, err := sql.Open("sqlite3", ":memory:")
	require.NoError(t, err)
	defer plain.Close()
	db := openSQLite(t, "sqlite3-groupcommit")
	r := registry(t, prom.NewCollector(plain, "plain"), prom.NewCollector(db, "main"))
	require.NoError(t, testutil.GatherAndCompare(r, strings.NewReader(`
# HELP groupcommit_calls_total Calls that entered a queue for a group.
# TYPE groupcommit_calls_total counter
groupcommit_calls_total{db_name="main"} 0
# HELP groupcommit_up Whether the counters of the database could be read.
# TYPE groupcommit_up gauge
groupcommit_up{db_name="main"} 1
groupcommit_up{db_name="plain"} 0
`), "groupcommit_up", "groupcommit_calls_total"))
}

var drivers atomic.Int64

// The sizes of groups are known by OnGroup, one by one.
func TestTheCountOfABucketIsExact(t *testing.T) {
	var mu sync.Mutex
	var sizes []int
	name := fmt.Sprint("sqlite3-groupcommit-sizes-", drivers.Add(1))
	groupcommit.Register(name, &mattn.SQLiteDriver{}, groupcommit.OnGroup(func(g groupcommit.GroupInfo) {
		mu.Lock()
		defer mu.Unlock()
		sizes = append(sizes, len(g.Calls))
	}))
	db := openSQLite(t, name)
	r := registry(t, prom.NewCollector(db, "main"))
	bounds := func() (bounds []float64) {
		for _, b := range gather(t, r)["groupcommit_group_size"].GetMetric()[0].GetHistogram().GetBucket() {
			bounds = append(bounds, b.GetUpperBound())
		}
		return bounds
	}
	empty := bounds()
	for _, n := range []int{1, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 100, 600} {
		group(t, db, n)
	}
	for _, b := range gather(t, r)["groupcommit_group_size"].GetMetric()[0].GetHistogram().GetBucket() {
		want := 0
		for _, n := range sizes {
			if float64(n) <= b.GetUpperBound() {
				want++
			}
		}
		require.EqualValues(t, want, b.GetCumulativeCount(), "up to %v of %v", b.GetUpperBound(), sizes)
	}
	for _, n := range []int{1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 100, 600} {
		require.Contains(t, sizes, n)
	}
	require.True(t, slices.IsSorted(empty))
	require.Equal(t, empty, bounds(), "the bounds are the same at each scrape")
}

// group has a group of so many calls run.
func group(t *testing.T, db *sql.DB, n int) {
	t.Helper()
	tx, err := db.Begin()
	require.NoError(t, err)
	_, err = tx.Exec("DELETE FROM a") // the others wait for its turn
	require.NoError(t, err)
	var ps []*groupcommit.Promise
	for range n {
		ps = append(ps, groupcommit.Go(t.Context(), db, "INSERT INTO a VALUES (NULL)"))
	}
	require.NoError(t, tx.Commit())
	for _, p := range ps {
		_, err := p.Await(t.Context())
		require.NoError(t, err)
	}
}

type entry struct{ K int }

func handled(t *testing.T, db *sql.DB) *groupcommit.Commands[entry, int] {
	t.Helper()
	cs, err := groupcommit.Handle(db, groupcommit.Each(func(ctx context.Context, tx *sql.Tx, e entry) (int, error) {
		_, err := tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO a VALUES (%d)", e.K))
		return e.K, err
	}), groupcommit.Durable(), groupcommit.Kind("entries"))
	require.NoError(t, err)
	return cs
}

func TestCommandsAreCollectedByKindAndState(t *testing.T) {
	db := openSQLite(t, "sqlite3-groupcommit")
	cs := handled(t, db)
	r := registry(t, prom.NewCollector(db, "main"))
	_, err := cs.Do(t.Context(), "one", entry{1})
	require.NoError(t, err)
	_, err = cs.Do(t.Context(), "one", entry{1})
	require.NoError(t, err)
	_, err = cs.Do(t.Context(), "two", entry{-1})
	require.Error(t, err)
	require.NoError(t, db.Close())
	got := gather(t, r)
	require.Equal(t, map[string]float64{"entries resolved": 2, "entries rejected": 1}, labelled(got["groupcommit_commands_settled_total"]))
	require.Equal(t, map[string]float64{"constraint entries": 1}, labelled(got["groupcommit_command_errors_total"]))
	require.Equal(t, map[string]float64{"entries": 1}, labelled(got["groupcommit_command_replays_total"]))
	require.Empty(t, labelled(got["groupcommit_commands"]))
	require.Len(t, got["groupcommit_commands"].GetMetric(), 5)
}

func TestScrapesBesideALoadAreConsistent(t *testing.T) {
	db := openSQLite(t, "sqlite3-groupcommit")
	handled(t, db)
	r := registry(t, prom.NewCollector(db, "main"))
	stop := make(chan struct{})
	var scrapes sync.WaitGroup
	for range 2 {
		scrapes.Go(func() {
			for {
				if _, err := r.Gather(); err != nil {
					t.Error(err)
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	load(db, 500)
	close(stop)
	scrapes.Wait()
}
