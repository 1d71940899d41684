package prom

import (
	"database/sql"

	"github.com/groupcommit/groupcommit"
	"github.com/prometheus/client_golang/prometheus"
)

// groups are the metrics of groups.
type groups struct {
	groups, size, wait, commit *prometheus.Desc
	reruns, late, lanes        *prometheus.Desc
}

func newGroups(desc describe) groups {
	return groups{
		groups: desc("groups_total", "Groups that were run, those of one call among them, by the reason that closed them.", "reason"),
		size:   desc("group_size", "Calls of a group."),
		wait:   desc("wait_seconds", "For how long the oldest call of a group had waited in the queue."),
		commit: desc("commit_seconds", "What groups of several calls paid once: COMMIT, a sync, a round trip."),
		reruns: desc("reruns_total", "How often a group, or a part of one, was rolled back and run again."),
		late:   desc("late_groups_total", "Groups that took much longer than the others, so that another began beside them."),
		lanes:  desc("lanes", "Groups that may run side by side at present."),
	}
}

func (m *groups) send(out to, s *groupcommit.Stats) {
	for reason, n := range s.Closed() {
		out.counter(m.groups, n, reason.String())
	}
	out.histogram(m.size, &s.Sizes, ones)
	out.histogram(m.wait, &s.Waits, seconds)
	out.histogram(m.commit, &s.Commits, seconds)
	out.counter(m.reruns, s.Reruns)
	out.counter(m.late, s.Late)
	out.gauge(m.lanes, float64(s.Lanes))
}

// connections are the metrics of the physical connections.
type connections struct{ most, open, waits, waited *prometheus.Desc }

func newConnections(desc describe) connections {
	return connections{
		most:   desc("pool_max_connections", "The most physical connections that there may be; 0 is no limit."),
		open:   desc("pool_connections", "Physical connections, by whether they are in use.", "state"),
		waits:  desc("pool_waits_total", "Calls and groups that have waited for a physical connection."),
		waited: desc("pool_wait_seconds_total", "How long they have waited."),
	}
}

func (m *connections) send(out to, s *sql.DBStats) {
	out.gauge(m.most, float64(s.MaxOpenConnections))
	out.gauge(m.open, float64(s.InUse), "in_use")
	out.gauge(m.open, float64(s.Idle), "idle")
	out.counter(m.waits, s.WaitCount)
	out <- prometheus.MustNewConstMetric(m.waited, prometheus.CounterValue, s.WaitDuration.Seconds())
}
