package otel

import (
	"context"
	"database/sql"
	"errors"

	"github.com/groupcommit/groupcommit"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// Observe reports what [groupcommit.StatsOf] counts of a database, each time that the metrics are collected: groupcommit.calls, .withdrawn,
// .groups, .alone, .reruns, .retries, .unknown_outcomes, .replays, .errors by groupcommit.class, .apart by groupcommit.why, .queued,
// .oldest_wait, .lanes, .commands by groupcommit.kind and groupcommit.state, and the physical connections as db.client.connection.count. stop ends
// that; a program calls it before it closes the database. Observe returns an error if db is not groupcommit's, or if the SDK refuses an
// instrument.
func Observe(db *sql.DB, opts ...Option) (stop func() error, err error) {
	if _, err := groupcommit.StatsOf(db); err != nil {
		return nil, err
	}
	c := configOf(opts)
	o := &observer{db: db, always: metric.WithAttributes(c.attrs...), attrs: c.attrs}
	m := c.meters.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))
	all, err := o.instruments(m)
	if err != nil {
		return nil, err
	}
	r, err := m.RegisterCallback(o.observe, all...)
	if err != nil {
		return nil, err
	}
	return r.Unregister, nil
}

type observer struct {
	db     *sql.DB
	always metric.MeasurementOption
	attrs  []attribute.KeyValue

	counters    []counter
	oldest      metric.Float64ObservableGauge
	apart       metric.Int64ObservableCounter
	errors      metric.Int64ObservableCounter
	commands    metric.Int64ObservableUpDownCounter
	connections metric.Int64ObservableUpDownCounter
}

// A counter is a number of Stats that goes as it is.
type counter struct {
	instrument metric.Int64Observable
	of         func(*groupcommit.Stats) int64
}

func (o *observer) instruments(m metric.Meter) (all []metric.Observable, err error) {
	var errs []error
	count := func(name, unit, description string, of func(*groupcommit.Stats) int64) {
		i, err := m.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
		errs = append(errs, err)
		o.counters = append(o.counters, counter{i, of})
		all = append(all, i)
	}
	level := func(name, unit, description string, of func(*groupcommit.Stats) int64) {
		i, err := m.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
		errs = append(errs, err)
		o.counters = append(o.counters, counter{i, of})
		all = append(all, i)
	}
	count("groupcommit.calls", "{call}", "Calls that entered a queue for a group.", func(s *groupcommit.Stats) int64 { return s.Calls })
	count("groupcommit.withdrawn", "{call}", "Calls that left before a group had claimed them.", func(s *groupcommit.Stats) int64 { return s.Withdrawn })
	count("groupcommit.groups", "{group}", "Groups that were run, groups of one among them.", func(s *groupcommit.Stats) int64 { return s.Groups })
	count("groupcommit.alone", "{group}", "Groups of one call.", func(s *groupcommit.Stats) int64 { return s.Alone })
	count("groupcommit.unknown_outcomes", "{call}", "Calls that ended with an error and may have been executed all the same.", func(s *groupcommit.Stats) int64 { return s.Unknown })
	count("groupcommit.replays", "{call}", "Calls with an id that were answered without being executed.", func(s *groupcommit.Stats) int64 { return s.Replays })
	count("groupcommit.retries", "{retry}", "Transactions that were tried again after a passing error.", func(s *groupcommit.Stats) int64 { return s.Retries })
	count("groupcommit.reruns", "{rerun}", "Groups, or parts of groups, that were rolled back and run again.", func(s *groupcommit.Stats) int64 { return s.Reruns })
	level("groupcommit.queued", "{call}", "Calls that no group has claimed yet.", func(s *groupcommit.Stats) int64 { return int64(s.Queued) })
	level("groupcommit.lanes", "{group}", "Groups that may run side by side at present.", func(s *groupcommit.Stats) int64 { return int64(s.Lanes) })

	o.oldest, err = m.Float64ObservableGauge("groupcommit.oldest_wait", metric.WithUnit("s"), metric.WithDescription("For how long the call waits that waits longest."))
	errs = append(errs, err)
	o.apart, err = m.Int64ObservableCounter("groupcommit.apart", metric.WithUnit("{call}"), metric.WithDescription("Calls that joined no group, by the reason."))
	errs = append(errs, err)
	o.errors, err = m.Int64ObservableCounter("groupcommit.errors", metric.WithUnit("{call}"), metric.WithDescription("Calls that ended with an error, by its class."))
	errs = append(errs, err)
	o.commands, err = m.Int64ObservableUpDownCounter("groupcommit.commands", metric.WithUnit("{command}"), metric.WithDescription("Commands that this process has, by kind and state."))
	errs = append(errs, err)
	o.connections, err = m.Int64ObservableUpDownCounter("db.client.connection.count", metric.WithUnit("{connection}"), metric.WithDescription("Physical connections, by their state."))
	errs = append(errs, err)
	return append(all, o.oldest, o.apart, o.errors, o.commands, o.connections), errors.Join(errs...)
}

// observe drops the numbers of a time at which StatsOf fails, because the error goes to the collector: a database behind a wrapper may
// have no connection free.
func (o *observer) observe(_ context.Context, to metric.Observer) error {
	s, err := groupcommit.StatsOf(o.db)
	if err != nil {
		return err
	}
	for _, c := range o.counters {
		to.ObserveInt64(c.instrument, c.of(&s), o.always)
	}
	to.ObserveFloat64(o.oldest, s.Oldest.Seconds(), o.always)
	for why, n := range s.Apart {
		to.ObserveInt64(o.apart, n, o.always, metric.WithAttributes(attribute.String("groupcommit.why", why.Label())))
	}
	for class, n := range s.Errors {
		to.ObserveInt64(o.errors, n, o.always, metric.WithAttributes(attribute.String("groupcommit.class", class.Label())))
	}
	for kind, c := range s.Commands {
		for state, n := range map[string]int{"queued": c.Queued, "running": c.Running, "retrying": c.Retrying, "awaited": c.Awaited, "broken": c.Broken} {
			to.ObserveInt64(o.commands, int64(n), o.always, metric.WithAttributes(attribute.String("groupcommit.kind", kind), attribute.String("groupcommit.state", state)))
		}
	}
	to.ObserveInt64(o.connections, int64(s.Leased.Idle), o.always, o.state(semconv.DBClientConnectionStateIdle))
	to.ObserveInt64(o.connections, int64(s.Leased.InUse), o.always, o.state(semconv.DBClientConnectionStateUsed))
	return nil
}

// state has the pool's name, which the conventions require. It is this library's where the program gives none.
func (o *observer) state(of attribute.KeyValue) metric.MeasurementOption {
	attrs := []attribute.KeyValue{of}
	for _, a := range o.attrs {
		if a.Key == semconv.DBClientConnectionPoolNameKey {
			return metric.WithAttributes(attrs...)
		}
	}
	return metric.WithAttributes(append(attrs, semconv.DBClientConnectionPoolName("groupcommit"))...)
}
