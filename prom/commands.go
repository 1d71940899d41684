package prom

import (
	"strings"

	"github.com/groupcommit/groupcommit"
	"github.com/prometheus/client_golang/prometheus"
)

// commands are the metrics of the commands of each kind, in this process.
type commands struct {
	present, settled                  *prometheus.Desc
	errors, unknown, replays, retries *prometheus.Desc
}

func newCommands(desc describe) commands {
	return commands{
		present: desc("commands", "Commands that this process has at present, by kind and state.", "kind", "state"),
		settled: desc("commands_settled_total", "Commands that have ended in this process, by kind and state; left is recorded and still to be carried out.", "kind", "state"),
		errors:  desc("command_errors_total", "Commands that ended with an error, by kind and class.", "kind", "class"),
		unknown: desc("command_unknown_outcomes_total", "Commands that ended with an error and may have been carried out all the same.", "kind"),
		replays: desc("command_replays_total", "Commands that were answered without being handled.", "kind"),
		retries: desc("command_retries_total", "Batches that were tried again after an attempt had failed.", "kind"),
	}
}

func (m *commands) send(out to, kind string, s *groupcommit.CommandStats) {
	kind = strings.ToValidUTF8(kind, "\uFFFD")
	out.gauge(m.present, float64(s.Queued), kind, "queued")
	out.gauge(m.present, float64(s.Running), kind, "running")
	out.gauge(m.present, float64(s.Retrying), kind, "retrying")
	if s.Durable {
		out.gauge(m.present, float64(s.Awaited), kind, "awaited")
		out.gauge(m.present, float64(s.Broken), kind, "broken")
		out.counter(m.settled, s.Left, kind, "left")
	}
	out.counter(m.settled, s.Resolved, kind, "resolved")
	out.counter(m.settled, s.Rejected, kind, "rejected")
	out.counter(m.settled, s.Canceled, kind, "canceled")
	out.counter(m.settled, s.TimedOut, kind, "timedout")
	for class := groupcommit.ErrorOther; class.Label() != invalid; class++ {
		out.counter(m.errors, s.Errors[class], kind, class.Label())
	}
	out.counter(m.unknown, s.Unknown, kind)
	out.counter(m.replays, s.Replays, kind)
	out.counter(m.retries, s.Retries, kind)
}
