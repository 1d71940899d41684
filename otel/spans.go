package otel

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/groupcommit/groupcommit"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// trace makes the span of a group, and an event in the span of each of its callers.
func (w *watcher) trace(g groupcommit.GroupInfo, system attribute.KeyValue, end time.Time) {
	start := end.Add(-g.Took)
	name := cmp.Or(nameOf(g.Calls), system.Value.AsString())
	opts := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(start), trace.WithAttributes(system, semconv.DBOperationName(name)),
		trace.WithAttributes(w.attrs...),
		trace.WithAttributes(
			attribute.String("groupcommit.group.reason", g.Reason.String()),
			attribute.Int("groupcommit.group.reruns", g.Reruns),
			attribute.Float64("groupcommit.group.wait", g.Waited.Seconds())),
	}
	ctx := context.Background()
	if len(g.Calls) == 1 {
		ctx = context.WithoutCancel(g.Calls[0].Context())
	} else {
		opts = append(opts, trace.WithLinks(linksOf(g.Calls)...), trace.WithAttributes(semconv.DBOperationBatchSize(len(g.Calls))))
	}
	_, span := w.tracer.Start(ctx, name, opts...)
	if span.IsRecording() {
		if w.queryText {
			span.SetAttributes(semconv.DBQueryText(textOf(g.Calls)))
		}
		w.setErrors(span, g)
	}
	span.End(trace.WithTimestamp(end))

	tellCallers(g, span.SpanContext(), start, end)
}

// tellCallers makes an event in the span of each caller.
func tellCallers(g groupcommit.GroupInfo, group trace.SpanContext, start, end time.Time) {
	same := []attribute.KeyValue{attribute.Int("groupcommit.group.size", len(g.Calls))}
	if group.IsValid() {
		same = append(same, attribute.String("groupcommit.group.trace_id", group.TraceID().String()), attribute.String("groupcommit.group.span_id", group.SpanID().String()))
	}
	all := trace.WithAttributes(same...)
	for i, c := range g.Calls {
		if caller := trace.SpanFromContext(c.Context()); caller.IsRecording() {
			waited := attribute.Float64("groupcommit.wait", max(0, start.Sub(g.Since[i])).Seconds())
			caller.AddEvent("groupcommit.group", trace.WithTimestamp(end), all, trace.WithAttributes(waited))
		}
	}
}

// setErrors says what has failed. The span has failed if all of its calls have: then nothing was committed.
func (w *watcher) setErrors(span trace.Span, g groupcommit.GroupInfo) {
	failed := 0
	var first error
	for _, c := range g.Calls {
		if err := c.Err(); err != nil && hasOutcome(g, c) {
			failed++
			if first == nil {
				first = err
			}
		}
	}
	if failed == 0 {
		return
	}
	span.SetAttributes(attribute.Int("groupcommit.group.failed", failed))
	if failed < len(g.Calls) {
		return
	}
	kind, code := errorOf(first)
	span.SetAttributes(semconv.ErrorTypeKey.String(kind))
	if code != "" {
		span.SetAttributes(semconv.DBResponseStatusCode(code))
	}
	span.SetStatus(codes.Error, kind) // not the error's text, which may have values in it
}

// linksOf are links to the spans of the callers, one to each.
func linksOf(calls []*groupcommit.Call) []trace.Link {
	var links []trace.Link
	seen := make(map[trace.SpanID]bool, len(calls))
	for _, c := range calls {
		if of := trace.SpanContextFromContext(c.Context()); of.IsValid() && !seen[of.SpanID()] {
			seen[of.SpanID()] = true
			links = append(links, trace.Link{SpanContext: of})
		}
	}
	return links
}

// nameOf is db.operation.name: INSERT of one call, BATCH INSERT of several of one kind, BATCH of others.
func nameOf(calls []*groupcommit.Call) string {
	verb := verbOf(calls[0].Query)
	if len(calls) == 1 {
		return verb
	}
	for _, c := range calls[1:] {
		if c.Query != calls[0].Query && verbOf(c.Query) != verb {
			return "BATCH"
		}
	}
	return strings.TrimSpace("BATCH " + verb)
}

// most bounds what a span shows of its texts.
const most = 8

// textOf are the different texts of a group, of which few are shown.
func textOf(calls []*groupcommit.Call) string {
	var texts []string
	for _, c := range calls {
		if len(texts) < most && !slices.Contains(texts, c.Query) {
			texts = append(texts, c.Query)
		}
	}
	return strings.ToValidUTF8(strings.Join(texts, "; "), "\uFFFD") // an exporter may refuse all that it has otherwise
}
