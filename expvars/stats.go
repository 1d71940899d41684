package expvars

import (
	"database/sql"
	"time"

	"github.com/groupcommit/groupcommit"
)

// stats is groupcommit.Stats as JSON has it.
type stats struct {
	Calls     int64   `json:"calls"`
	Withdrawn int64   `json:"withdrawn"`
	Queued    int     `json:"queued"`
	Oldest    float64 `json:"oldest_seconds"`

	Groups   int64            `json:"groups"`
	Alone    int64            `json:"alone"`
	MaxGroup int              `json:"max_group"`
	Reruns   int64            `json:"reruns"`
	Late     int64            `json:"late"`
	Closed   map[string]int64 `json:"closed"`
	Lanes    int              `json:"lanes"`
	Once     float64          `json:"once_seconds"`
	Each     float64          `json:"each_seconds"`
	Mode     string           `json:"mode"`
	Why      string           `json:"why,omitempty"`
	Shared   int64            `json:"shared"`
	Synced   int64            `json:"synced"`
	SyncWhy  string           `json:"sync_why,omitempty"`

	Sizes     histogram `json:"sizes"`
	Waits     histogram `json:"wait_seconds"`
	Commits   histogram `json:"commit_seconds"`
	Latencies histogram `json:"call_seconds"`

	Apart map[string]int64 `json:"apart"`
	ends
	Commands map[string]command `json:"commands,omitempty"`
	Pool     pool               `json:"pool"`
}

type ends struct {
	Errors  map[string]int64 `json:"errors"`
	Unknown int64            `json:"unknown"`
	Replays int64            `json:"replays"`
	Retries int64            `json:"retries"`
}

type command struct {
	Durable  bool  `json:"durable"`
	Queued   int   `json:"queued"`
	Running  int   `json:"running"`
	Retrying int   `json:"retrying"`
	Awaited  int   `json:"awaited"`
	Broken   int   `json:"broken"`
	Resolved int64 `json:"resolved"`
	Rejected int64 `json:"rejected"`
	Canceled int64 `json:"canceled"`
	TimedOut int64 `json:"timedout"`
	Left     int64 `json:"left"`
	ends
}

type pool struct {
	MaxOpen   int     `json:"max_open"`
	Open      int     `json:"open"`
	InUse     int     `json:"in_use"`
	Idle      int     `json:"idle"`
	WaitCount int64   `json:"wait_count"`
	Waited    float64 `json:"wait_seconds"`
}

type histogram struct {
	Count int64   `json:"count"`
	Sum   float64 `json:"sum"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p999"`
	Max   float64 `json:"max"`
}

func statsOf(s *groupcommit.Stats) stats {
	v := stats{
		Calls: s.Calls, Withdrawn: s.Withdrawn, Queued: s.Queued, Oldest: s.Oldest.Seconds(),
		Groups: s.Groups, Alone: s.Alone, MaxGroup: s.MaxGroup, Reruns: s.Reruns, Late: s.Late,
		Closed: make(map[string]int64), Lanes: s.Lanes, Once: s.Once.Seconds(), Each: s.Each.Seconds(), Mode: s.Mode.String(), Why: s.Why,
		Shared: s.Shared, Synced: s.Synced, SyncWhy: s.SyncWhy,
		Sizes: histogramOf(&s.Sizes, 1), Waits: histogramOf(&s.Waits, time.Second),
		Commits: histogramOf(&s.Commits, time.Second), Latencies: histogramOf(&s.Latencies, time.Second),
		Apart: labelled(s.Apart), ends: endsOf(&s.Ends), Pool: poolOf(&s.Leased),
	}
	for reason, n := range s.Closed() {
		v.Closed[reason.String()] = n
	}
	for kind, c := range s.Commands {
		if v.Commands == nil {
			v.Commands = make(map[string]command)
		}
		v.Commands[kind] = commandOf(&c)
	}
	return v
}

func endsOf(e *groupcommit.Ends) ends {
	return ends{Errors: labelled(e.Errors), Unknown: e.Unknown, Replays: e.Replays, Retries: e.Retries}
}

func commandOf(c *groupcommit.CommandStats) command {
	return command{
		Durable: c.Durable, Queued: c.Queued, Running: c.Running, Retrying: c.Retrying, Awaited: c.Awaited, Broken: c.Broken,
		Resolved: c.Resolved, Rejected: c.Rejected, Canceled: c.Canceled, TimedOut: c.TimedOut, Left: c.Left, ends: endsOf(&c.Ends),
	}
}

func poolOf(p *sql.DBStats) pool {
	return pool{
		MaxOpen: p.MaxOpenConnections, Open: p.OpenConnections, InUse: p.InUse, Idle: p.Idle, WaitCount: p.WaitCount, Waited: p.WaitDuration.Seconds(),
	}
}

// labelled are counts by their labels.
func labelled[K interface {
	comparable
	Label() string
}](counts map[K]int64) map[string]int64 {
	by := make(map[string]int64, len(counts))
	for k, n := range counts {
		by[k.Label()] = n
	}
	return by
}

// histogramOf has the values in units of one.
func histogramOf(h *groupcommit.Histogram, one time.Duration) histogram {
	in := func(v int64) float64 { return float64(v) / float64(one) }
	return histogram{
		Count: h.Count(), Sum: in(h.Sum()),
		P50: in(h.Quantile(.5)), P90: in(h.Quantile(.9)), P99: in(h.Quantile(.99)), P999: in(h.Quantile(.999)), Max: in(h.Quantile(1)),
	}
}
