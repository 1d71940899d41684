package otel

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/engine"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"
)

// BenchmarkGroup is what a group waits for, a call: with callers that are traced, and with callers that are not.
func BenchmarkGroup(b *testing.B) {
	for _, calls := range []int{1, 64, 1000} {
		for _, traced := range []bool{false, true} {
			b.Run(fmt.Sprintf("calls=%d/traced=%v", calls, traced), func(b *testing.B) {
				tracers := trace.NewTracerProvider()
				var w *watcher
				opts := []Option{TracerProvider(tracers), MeterProvider(metric.NewMeterProvider(metric.WithReader(metric.NewManualReader())))}
				w = newWatcher(opts)
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					info := groupcommit.GroupInfo{Dialect: engine.SQLiteSQL, Took: time.Millisecond}
					for range calls {
						ctx := context.Background()
						if traced {
							ctx, _ = tracers.Tracer("program").Start(ctx, "caller")
						}
						c := engine.NewCall(ctx, "INSERT INTO t (a, b) VALUES (?, ?)", nil, false)
						c.AnswerCounts(1, 1)
						info.Calls, info.Since = append(info.Calls, &c), append(info.Since, time.Now())
					}
					b.StartTimer()
					w.observe(info)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*calls), "ns/call")
			})
		}
	}
}
