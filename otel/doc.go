// Package otel tells OpenTelemetry of the groups of a database, by the semantic conventions for database clients. It is a module of its
// own, so that programs without OpenTelemetry do not get its dependencies.
//
//	import groupotel "github.com/groupcommit/groupcommit/otel"
//
//	db, err := groupcommit.Open("pgx", dsn, groupotel.Groups())
//	stop, err := groupotel.Observe(db)
//
// # Spans
//
// A group is one span of the kind client. It is named after what its calls do, such as "BATCH INSERT", and has their number as
// db.operation.batch.size. It begins a trace of its own, with a link to the span of each caller, because it has many callers: an SDK keeps
// 128 links of a span unless OTEL_SPAN_LINK_COUNT_LIMIT says otherwise. The span of each caller has an event, "groupcommit.group", with
// the size of the group, the time that the call has waited, and the group's trace and span. A group of one call is a child of its
// caller's span, as a call of the plain driver is.
//
// A tracer around the driver, such as otelsql's, goes well with this: around groupcommit's driver it makes a span of each call, and that span
// has the event. The tracer of a pgx.ConnConfig does not see the calls of a group; these spans stand in its place.
//
// # Metrics
//
// [Groups] records three histograms: db.client.operation.duration, in seconds, for each call from the time at which it came until its
// group was committed; groupcommit.group.size; groupcommit.group.duration. [Observe] reports what [groupcommit.StatsOf] counts.
//
// Calls that join no group (queries, transactions, calls of NoBatch) and the batches of commands are not seen here; a tracer around the driver sees them.
// groupcommit.apart of Observe counts them.
//
// # Cost
//
// All of it runs after the commit and before the callers are answered, in the goroutine of one of them: a group waits for it. README.md
// of the module has what was measured.
package otel
