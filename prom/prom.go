// Package prom has the counters of a groupcommit database collected by Prometheus:
//
//	db, err := sql.Open("pgx-groupcommit", dsn)
//	…
//	prometheus.MustRegister(prom.NewCollector(db, "orders"))
//	http.Handle("/metrics", promhttp.Handler())
//
// docs/metrics.md has every metric, and which to look at first. The package is a module of its own, so that programs without Prometheus
// do not get its client.
package prom

import (
	"database/sql"

	"github.com/groupcommit/groupcommit"
	"github.com/prometheus/client_golang/prometheus"
)

// NewCollector returns a collector of groupcommit.StatsOf(db). name is the value of the label db_name, as that of
// collectors.NewDBStatsCollector, which goes well beside it: that one counts the cheap connections of db, this one what stands below.
// The collectors of several databases can be in one registry if their names differ.
//
// A scrape asks no database: it costs some locks. If StatsOf fails, which it does where db is not groupcommit's, or where a wrapper
// is around groupcommit's driver and a first connection cannot be had, groupcommit_up is 0 and there is nothing else of that database.
// An invalid metric would cost the scrape all that other collectors have to tell.
func NewCollector(db *sql.DB, name string) prometheus.Collector {
	return &collector{db, newMetrics(name)}
}

type collector struct {
	db *sql.DB
	metrics
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range c.all {
		out <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s, err := groupcommit.StatsOf(c.db)
	if err != nil {
		to(out).gauge(c.up, 0)
		return
	}
	to(out).gauge(c.up, 1)
	c.calls.send(out, &s)
	c.groups.send(out, &s)
	c.connections.send(out, &s.Leased)
	for kind, of := range s.Commands {
		c.commands.send(out, kind, &of)
	}
}

// metrics are the descriptions of all metrics, by what they are about.
type metrics struct {
	all         []*prometheus.Desc
	up          *prometheus.Desc
	calls       calls
	groups      groups
	commands    commands
	connections connections
}

func newMetrics(database string) metrics {
	var all []*prometheus.Desc
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		d := prometheus.NewDesc("groupcommit_"+name, help, labels, prometheus.Labels{"db_name": database})
		all = append(all, d)
		return d
	}
	m := metrics{up: desc("up", "Whether the counters of the database could be read.")}
	m.calls, m.groups, m.commands, m.connections = newCalls(desc), newGroups(desc), newCommands(desc), newConnections(desc)
	m.all = all
	return m
}

// describe makes a description, and notes it.
type describe func(name, help string, labels ...string) *prometheus.Desc

// to sends metrics.
type to chan<- prometheus.Metric

func (out to) gauge(d *prometheus.Desc, v float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (out to) counter(d *prometheus.Desc, n int64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}
