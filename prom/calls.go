package prom

import (
	"github.com/groupcommit/groupcommit"
	"github.com/prometheus/client_golang/prometheus"
)

// calls are the metrics of single calls: how many there are, how long they take, how they end.
type calls struct {
	entered, withdrawn, apart                *prometheus.Desc
	queued, oldest, latency                  *prometheus.Desc
	errors, unknown, replays, retries, syncs *prometheus.Desc
}

func newCalls(desc describe) calls {
	return calls{
		entered:   desc("calls_total", "Calls that entered a queue for a group."),
		withdrawn: desc("withdrawn_total", "Calls that left the queue before a group had claimed them, and were not executed."),
		apart:     desc("apart_total", "Calls that joined no group and ran as on the plain driver, queries among them, by the reason.", "why"),
		queued:    desc("queued", "Calls that wait in a queue for a group."),
		oldest:    desc("oldest_wait_seconds", "For how long the call has been waiting that waits longest; 0 if none does."),
		latency:   desc("call_seconds", "From a call's entering the queue until its group was committed."),
		errors:    desc("errors_total", "Calls that ended with an error, by its class.", "class"),
		unknown:   desc("unknown_outcomes_total", "Calls that ended with an error and may have been executed all the same; they are among the errors."),
		replays:   desc("replays_total", "Calls with an id that were answered without being executed."),
		retries:   desc("retries_total", "Transactions of groups and of single calls that were tried again after a passing error."),
		syncs:     desc("syncs_total", "Transactions by whether they shared the sync that made them durable with others, where there is that choice.", "sync"),
	}
}

func (m *calls) send(out to, s *groupcommit.Stats) {
	out.counter(m.entered, s.Calls)
	out.counter(m.withdrawn, s.Withdrawn)
	out.gauge(m.queued, float64(s.Queued))
	out.gauge(m.oldest, s.Oldest.Seconds())
	out.histogram(m.latency, &s.Latencies, seconds)
	for why := groupcommit.WhyNot + 1; why.Label() != invalid; why++ {
		if why != groupcommit.WhyPoolOfOne && why != groupcommit.WhyNoRoom { // which no call has: it is a group of one
			out.counter(m.apart, s.Apart[why], why.Label())
		}
	}
	for class := groupcommit.ErrorOther; class.Label() != invalid; class++ {
		out.counter(m.errors, s.Errors[class], class.Label())
	}
	out.counter(m.unknown, s.Unknown)
	out.counter(m.replays, s.Replays)
	out.counter(m.retries, s.Retries)
	out.counter(m.syncs, s.Shared, "shared")
	out.counter(m.syncs, s.Synced, "alone")
}

// invalid is the label of a value that is none.
const invalid = "invalid"
