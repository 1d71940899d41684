package otel_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/XSAM/otelsql"
	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	groupotel "github.com/groupcommit/groupcommit/otel"
	_ "github.com/groupcommit/groupcommit/pgx"
	"github.com/groupcommit/groupcommit/sqlite3"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	api "go.opentelemetry.io/otel/trace"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

// A scene is a program with the real SDK, whose exporters are in memory.
type scene struct {
	*testing.T
	spans  *tracetest.InMemoryExporter
	tracer *trace.TracerProvider
	reader *metric.ManualReader
	opts   []groupotel.Option
	meters *metric.MeterProvider
}

func newScene(t *testing.T, opts ...groupotel.Option) *scene {
	bounded.Test(t)
	s := &scene{T: t, spans: tracetest.NewInMemoryExporter(), reader: metric.NewManualReader()}
	limits := trace.NewSpanLimits()
	limits.LinkCountLimit = -1
	s.tracer = trace.NewTracerProvider(trace.WithSyncer(s.spans), trace.WithRawSpanLimits(limits))
	s.meters = metric.NewMeterProvider(metric.WithReader(s.reader))
	s.opts = append(opts, groupotel.TracerProvider(s.tracer), groupotel.MeterProvider(s.meters))
	return s
}

func (s *scene) open(name, dsn string) *sql.DB {
	db, err := groupcommit.Open(name, dsn, groupotel.Groups(s.opts...))
	return s.opened(db, err)
}

func (s *scene) opened(db *sql.DB, err error) *sql.DB {
	require.NoError(s, err)
	s.Cleanup(func() { bounded.Wait(s, "the database is closed", func() { db.Close() }) })
	_, err = db.Exec("CREATE TABLE users (k BIGINT PRIMARY KEY)")
	require.NoError(s, err)
	return db
}

func file(t *testing.T) string {
	return "file:" + filepath.Join(t.TempDir(), "a.db") + "?_journal=WAL&_synchronous=FULL"
}

// together has the calls of n callers, each in a span of its own, be one group: they wait for a transaction that has the writer's turn.
func (s *scene) together(db *sql.DB, n int, query string, arg func(int) any) (callers []api.SpanContext, errs []error) {
	tx, err := db.Begin()
	require.NoError(s, err)
	_, err = tx.Exec("DELETE FROM users WHERE k = -1")
	require.NoError(s, err)
	before, err := groupcommit.StatsOf(db)
	require.NoError(s, err)
	callers, errs = make([]api.SpanContext, n), make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			ctx, span := s.tracer.Tracer("program").Start(s.Context(), "caller")
			callers[i] = span.SpanContext()
			_, errs[i] = db.ExecContext(ctx, query, arg(i))
			span.End()
		})
	}
	bounded.Until(s, "all calls wait", func() bool {
		now, err := groupcommit.StatsOf(db)
		return err == nil && int(now.Calls-before.Calls) == n
	})
	require.NoError(s, tx.Commit())
	bounded.Wait(s, "all have been answered", all.Wait)
	return callers, errs
}

// named are the spans that were exported under a name.
func (s *scene) named(name string) (found []tracetest.SpanStub) {
	for _, span := range s.spans.GetSpans() {
		if span.Name == name {
			found = append(found, span)
		}
	}
	return found
}

func attrs(of []attribute.KeyValue) map[string]any {
	m := make(map[string]any)
	for _, a := range of {
		m[string(a.Key)] = a.Value.AsInterface()
	}
	return m
}

func TestAGroupIsASpanWithALinkToEachCaller(t *testing.T) {
	s := newScene(t, groupotel.Attributes(attribute.String("db.namespace", "app")), groupotel.QueryText())
	db := s.open("sqlite3", file(t))
	const n = 200
	callers, errs := s.together(db, n, "INSERT INTO users (k) VALUES (?)", func(i int) any { return i })
	require.NoError(t, errors.Join(errs...))

	byID := make(map[api.SpanID]tracetest.SpanStub)
	groups, members := 0, 0
	linked := make(map[api.SpanID]api.SpanID) // the group of each caller
	for _, g := range append(s.named("BATCH INSERT"), s.named("INSERT")...) {
		a := attrs(g.Attributes)
		require.Equal(t, api.SpanKindClient, g.SpanKind)
		require.Equal(t, "sqlite", a["db.system.name"])
		require.Equal(t, "app", a["db.namespace"])
		require.Equal(t, "INSERT INTO users (k) VALUES (?)", a["db.query.text"])
		require.Equal(t, g.Name, a["db.operation.name"])
		require.Equal(t, codes.Unset, g.Status.Code)
		require.False(t, g.EndTime.Before(g.StartTime))
		byID[g.SpanContext.SpanID()] = g
		if len(g.Links) == 0 { // a group of one
			require.NotContains(t, a, "db.operation.batch.size")
			linked[g.Parent.SpanID()] = g.SpanContext.SpanID()
			members++
			continue
		}
		groups++
		require.EqualValues(t, len(g.Links), a["db.operation.batch.size"])
		require.False(t, g.Parent.IsValid(), "it has many callers, so it begins a trace")
		for _, l := range g.Links {
			linked[l.SpanContext.SpanID()] = g.SpanContext.SpanID()
			members++
		}
	}
	require.Equal(t, n, members)
	require.Positive(t, groups)
	told := s.named("caller")
	require.Len(t, told, n)
	for _, c := range callers {
		require.Contains(t, linked, c.SpanID())
	}
	for _, c := range told {
		require.Len(t, c.Events, 1)
		require.Equal(t, "groupcommit.group", c.Events[0].Name)
		a := attrs(c.Events[0].Attributes)
		group, ok := byID[linked[c.SpanContext.SpanID()]]
		require.True(t, ok)
		require.EqualValues(t, max(1, len(group.Links)), a["groupcommit.group.size"])
		require.Equal(t, group.SpanContext.SpanID().String(), a["groupcommit.group.span_id"])
		require.Equal(t, group.SpanContext.TraceID().String(), a["groupcommit.group.trace_id"])
		require.GreaterOrEqual(t, a["groupcommit.wait"], 0.0)
	}
}

func TestALoneCallIsAChildOfItsCaller(t *testing.T) {
	s := newScene(t)
	db := s.open("sqlite3", file(t))
	ctx, caller := s.tracer.Tracer("program").Start(t.Context(), "caller")
	_, err := db.ExecContext(ctx, "/* who */ update users SET k = 1")
	require.NoError(t, err)
	caller.End()
	group := s.named("UPDATE")
	require.Len(t, group, 1)
	require.Equal(t, caller.SpanContext().SpanID(), group[0].Parent.SpanID())
	require.Empty(t, group[0].Links)
	a := attrs(group[0].Attributes)
	require.NotContains(t, a, "db.operation.batch.size")
	require.NotContains(t, a, "db.query.text", "a text may hold values")
}

// durations are the counts of db.client.operation.duration by their other attributes.
func (s *scene) durations() map[string]uint64 {
	counts := make(map[string]uint64)
	for _, m := range s.metrics() {
		if m.Name != "db.client.operation.duration" {
			continue
		}
		require.Equal(s, "s", m.Unit)
		for _, p := range m.Data.(metricdata.Histogram[float64]).DataPoints {
			require.Equal(s, []float64{.001, .005, .01, .05, .1, .5, 1, 5, 10}, p.Bounds)
			a := attrs(p.Attributes.ToSlice())
			counts[fmt.Sprint(a["db.system.name"], " ", a["db.operation.name"], " ", a["error.type"], " ", a["db.response.status_code"])] += p.Count
		}
	}
	return counts
}

func (s *scene) metrics() (all []metricdata.Metrics) {
	var data metricdata.ResourceMetrics
	require.NoError(s, s.reader.Collect(context.Background(), &data))
	for _, scope := range data.ScopeMetrics {
		require.Equal(s, "github.com/groupcommit/groupcommit/otel", scope.Scope.Name)
		all = append(all, scope.Metrics...)
	}
	return all
}

func TestEachCallHasItsDurationAndItsError(t *testing.T) {
	for name, test := range map[string]struct {
		driver, query, dsn, system, failed string
	}{
		"SQLite":     {"sqlite3", "INSERT INTO users (k) VALUES (?)", file(t), "sqlite", "sqlite INSERT github.com/mattn/go-sqlite3.Error <nil>"},
		"PostgreSQL": {"pgx", "INSERT INTO users (k) VALUES ($1)", "", "postgresql", "postgresql INSERT 23505 23505"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.dsn == "" {
				test.dsn = pgtest.DSN(t)
			}
			s := newScene(t)
			db := s.open(test.driver, test.dsn)
			var all sync.WaitGroup
			for i := range 100 {
				all.Go(func() { db.ExecContext(t.Context(), test.query, i/2) }) // each key twice
			}
			bounded.Wait(t, "all have been answered", all.Wait)
			require.Equal(t, map[string]uint64{test.system + " INSERT <nil> <nil>": 50, test.failed: 50}, s.durations())
		})
	}
}

// A group that fails as a whole is a span that has failed. One in which some calls fail is not: the others are committed.
func TestAGroupHasFailedWhereAllItsCallsHave(t *testing.T) {
	s := newScene(t)
	db := s.open("sqlite3", file(t))
	_, err := db.Exec("INSERT INTO users (k) VALUES (1)")
	require.NoError(t, err)
	s.spans.Reset()
	_, errs := s.together(db, 4, "INSERT INTO users (k) VALUES (?)", func(int) any { return 1 })
	failed := 0
	for _, g := range append(s.named("BATCH INSERT"), s.named("INSERT")...) {
		require.Equal(t, codes.Error, g.Status.Code)
		require.Equal(t, "github.com/mattn/go-sqlite3.Error", g.Status.Description)
		failed += int(attrs(g.Attributes)["groupcommit.group.failed"].(int64))
	}
	require.Equal(t, 4, failed)
	for _, err := range errs {
		require.Error(t, err)
	}

	s.spans.Reset()
	_, errs = s.together(db, 4, "INSERT INTO users (k) VALUES (?)", func(i int) any { return i + 1 }) // the first is there
	require.Error(t, errs[0])
	require.NoError(t, errors.Join(errs[1:]...))
	several := 0
	for _, g := range s.named("BATCH INSERT") {
		if len(g.Links) > 1 {
			several++
			require.Equal(t, codes.Unset, g.Status.Code)
		}
	}
	require.Positive(t, several)
}

func TestObserveReportsWhatIsCounted(t *testing.T) {
	s := newScene(t)
	db := s.open("sqlite3", file(t))
	stop, err := groupotel.Observe(db, s.opts...)
	require.NoError(t, err)
	_, errs := s.together(db, 50, "INSERT INTO users (k) VALUES (?)", func(i int) any { return i })
	require.NoError(t, errors.Join(errs...))
	require.NoError(t, db.QueryRow("SELECT 1").Scan(new(int)))
	_, err = db.Exec("INSERT INTO users (k) VALUES (1)")
	require.Error(t, err)
	_, err = groupcommit.Handle(db, func(context.Context, *sql.Tx, []*groupcommit.Command[int, int]) error { return nil })
	require.NoError(t, err)

	stats, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	sums := make(map[string]int64)
	for _, m := range s.metrics() {
		switch d := m.Data.(type) {
		case metricdata.Sum[int64]:
			for _, p := range d.DataPoints {
				sums[m.Name] += p.Value
				for _, a := range p.Attributes.ToSlice() {
					sums[fmt.Sprint(m.Name, " ", a.Key, "=", a.Value.AsString())] += p.Value
				}
			}
		case metricdata.Gauge[int64]:
			for _, p := range d.DataPoints {
				sums[m.Name] += p.Value
			}
		}
	}
	require.Equal(t, stats.Calls, sums["groupcommit.calls"])
	require.Equal(t, stats.Groups, sums["groupcommit.groups"])
	require.Equal(t, stats.Alone, sums["groupcommit.alone"])
	require.Equal(t, stats.Apart[groupcommit.WhyReads], sums["groupcommit.apart groupcommit.why=reads"])
	require.Positive(t, stats.Apart[groupcommit.WhyReads])
	require.EqualValues(t, 1, sums["groupcommit.errors groupcommit.class=constraint"])
	require.Contains(t, sums, "groupcommit.commands groupcommit.kind=int")
	require.Contains(t, sums, "groupcommit.commands groupcommit.state=retrying")
	require.Contains(t, sums, "groupcommit.replays")
	require.Positive(t, sums["db.client.connection.count"])
	require.Contains(t, sums, "groupcommit.queued")

	require.NoError(t, stop())
	for _, m := range s.metrics() {
		require.NotEqual(t, "groupcommit.calls", m.Name)
	}
}

func TestADatabaseOfAnotherDriverIsRefused(t *testing.T) {
	db, err := sql.Open("sqlite3", file(t))
	require.NoError(t, err)
	defer db.Close()
	_, err = groupotel.Observe(db)
	require.Error(t, err)
}

// otelsql around groupcommit's driver makes a span of each call, and the event is in that one. Inside, it sees the statements, of a group
// as well, as children of their callers.
func TestWithOtelsqlOnEitherSide(t *testing.T) {
	t.Run("above", func(t *testing.T) {
		s := newScene(t)
		groupcommit.Register("sqlite3-told", &mattn.SQLiteDriver{}, groupotel.Groups(s.opts...))
		db := s.opened(otelsql.Open("sqlite3-told", file(t), otelsql.WithTracerProvider(s.tracer), otelsql.WithSpanOptions(otelsql.SpanOptions{DisableErrSkip: true})))
		s.spans.Reset()
		_, errs := s.together(db, 20, "INSERT INTO users (k) VALUES (?)", func(i int) any { return i })
		require.NoError(t, errors.Join(errs...))
		events := 0
		for _, span := range s.named("sql.conn.exec") {
			for _, e := range span.Events {
				if e.Name == "groupcommit.group" {
					events++
				}
			}
		}
		require.Equal(t, 20, events)
	})
	t.Run("below", func(t *testing.T) {
		s := newScene(t)
		below := otelsql.WrapDriver(&mattn.SQLiteDriver{}, otelsql.WithTracerProvider(s.tracer))
		sql.Register("sqlite3-below", driver.Driver(below))
		db := s.open("sqlite3-below", file(t))
		callers, errs := s.together(db, 20, "INSERT INTO users (k) VALUES (?)", func(i int) any { return i })
		require.NoError(t, errors.Join(errs...))
		below20 := make(map[api.SpanID]bool)
		for _, span := range s.spans.GetSpans() {
			if span.Name == "sql.stmt.exec" || span.Name == "sql.conn.exec" {
				below20[span.Parent.SpanID()] = true
			}
		}
		for _, c := range callers {
			require.True(t, below20[c.SpanID()], "a statement of a group is in its caller's trace")
		}
		require.NotEmpty(t, append(s.named("BATCH INSERT"), s.named("INSERT")...))
	})
}

func TestWithoutAnSDKNothingHappens(t *testing.T) {
	db, err := groupcommit.Open(sqlite3.DriverName, file(t), groupotel.Groups(groupotel.TracerProvider(nil), groupotel.MeterProvider(nil), nil))
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec("CREATE TABLE users (k)")
	require.NoError(t, err)
	_, err = db.Exec("INSERT INTO users (k) VALUES (1)")
	require.NoError(t, err)
}
