package otel

import (
	"context"
	"time"

	"github.com/groupcommit/groupcommit"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/dbconv"
	"go.opentelemetry.io/otel/trace"
)

// Groups returns an option of [groupcommit.Open], Register or NewConnector that tells of each group by a span and by histograms. An
// instrument that the SDK refuses is reported to the handler of [otel.SetErrorHandler].
func Groups(opts ...Option) groupcommit.Option { return groupcommit.OnGroup(newWatcher(opts).observe) }

func newWatcher(opts []Option) *watcher {
	c := configOf(opts)
	w := &watcher{config: c, tracer: c.tracers.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL)), sets: newSets(c.attrs)}
	m := c.meters.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))
	var err error
	// The bounds are those that the conventions recommend.
	w.duration, err = dbconv.NewClientOperationDuration(m, metric.WithExplicitBucketBoundaries(.001, .005, .01, .05, .1, .5, 1, 5, 10))
	handle(err)
	w.size, err = m.Int64Histogram("groupcommit.group.size", metric.WithUnit("{call}"), metric.WithDescription("Calls of a group."),
		metric.WithExplicitBucketBoundaries(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000))
	handle(err)
	w.took, err = m.Float64Histogram("groupcommit.group.duration", metric.WithUnit("s"),
		metric.WithDescription("Time of a group from its claim until its commit."),
		metric.WithExplicitBucketBoundaries(.0001, .0005, .001, .005, .01, .05, .1, .5, 1, 5, 10))
	handle(err)
	return w
}

func handle(err error) {
	if err != nil {
		otel.Handle(err)
	}
}

// A watcher tells of groups.
type watcher struct {
	*config
	tracer   trace.Tracer
	duration dbconv.ClientOperationDuration
	size     metric.Int64Histogram
	took     metric.Float64Histogram
	sets     *sets
}

func (w *watcher) observe(g groupcommit.GroupInfo) {
	end := time.Now()
	system := systemOf(g.Dialect)
	ctx := context.Background()
	group := metric.WithAttributeSet(w.sets.of(operation{system: system}))
	if g.Reason != groupcommit.PutOff {
		w.size.Record(ctx, int64(len(g.Calls)), group)
		w.took.Record(ctx, g.Took.Seconds(), group)
	}
	for i, c := range g.Calls {
		if hasOutcome(g, c) {
			w.duration.RecordSet(ctx, end.Sub(g.Since[i]).Seconds(), w.sets.of(operationOf(system, c)))
		}
	}
	w.trace(g, system, end)
}

// hasOutcome reports that a call has been executed. Of one that its group has put off, the watcher is told again when it has.
func hasOutcome(g groupcommit.GroupInfo, c *groupcommit.Call) bool {
	return g.Reason == groupcommit.PutOff || !c.IsPutOff()
}
