package debug

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	"github.com/groupcommit/groupcommit"
)

// counted is a figure whose rate says something.
func counted(label string, n int64) figure { return figure{Label: label, Value: count(n), Count: &n} }

// unwanted is one that should be 0.
func unwanted(label string, n int64) figure {
	f := counted(label, n)
	f.Bad = n > 0
	return f
}

func plain(label, value string) figure { return figure{Label: label, Value: value} }

func blocksOf(s *groupcommit.Stats) []block {
	learned := block{ID: "learned", Title: "What was learned", Note: s.Why, Figures: []figure{
		plain("a group pays once", duration(s.Once)),
		plain("each call adds", duration(s.Each)),
		plain("groups side by side", count(int64(s.Lanes))),
		plain("mode", s.Mode.String()),
	}}
	if s.Shared+s.Synced > 0 {
		learned.Figures = append(learned.Figures, counted("shared syncs", s.Shared), counted("syncs alone", s.Synced))
		if s.Why == "" && s.SyncWhy != "" {
			learned.Note = "The last sync alone: " + s.SyncWhy + "."
		}
	}
	return []block{
		{ID: "queue", Title: "Queue and groups", Figures: []figure{
			plain("calls waiting", count(int64(s.Queued))),
			plain("oldest has waited", duration(s.Oldest)),
			plain("largest group", count(int64(s.MaxGroup))),
			counted("groups of one call", s.Alone),
			counted("re-runs", s.Reruns),
			counted("late groups", s.Late),
			counted("withdrawn calls", s.Withdrawn),
		}},
		learned,
		{ID: "ends", Title: "Outcomes", Figures: []figure{
			counted("errors", total(s.Errors)),
			unwanted("unknown outcomes", s.Unknown),
			counted("replays", s.Replays),
			counted("retries", s.Retries),
		}},
		poolOf(s),
	}
}

func poolOf(s *groupcommit.Stats) block {
	most := "no limit"
	if s.Leased.MaxOpenConnections > 0 {
		most = count(int64(s.Leased.MaxOpenConnections))
	}
	return block{ID: "pool", Title: "Physical connections", Figures: []figure{
		plain("in use", count(int64(s.Leased.InUse))),
		plain("idle", count(int64(s.Leased.Idle))),
		plain("at most", most),
		counted("waits for one", s.Leased.WaitCount),
		plain("waited in all", duration(s.Leased.WaitDuration)),
	}}
}

// commandsOf has a block for each kind of command, in the order of their names.
func commandsOf(s *groupcommit.Stats) []block {
	blocks := []block{}
	for _, kind := range slices.Sorted(maps.Keys(s.Commands)) {
		c := s.Commands[kind]
		b := block{ID: "command-" + kind, Title: kind, Figures: []figure{
			plain("queued", count(int64(c.Queued))),
			plain("running", count(int64(c.Running))),
			plain("between attempts", count(int64(c.Retrying))),
			counted("further attempts", c.Retries),
			counted("resolved", c.Resolved),
			counted("rejected", c.Rejected),
			counted("cancelled", c.Canceled),
			counted("timed out", c.TimedOut),
			counted("replays", c.Replays),
			unwanted("unknown outcomes", c.Unknown),
		}}
		if c.Durable {
			b.Tag = "durable"
			b.Figures = append(b.Figures,
				plain("awaited", count(int64(c.Awaited))),
				counted("left for later", c.Left),
				figure{Label: "broken", Value: count(int64(c.Broken)), Bad: c.Broken > 0})
		}
		for _, class := range slices.Sorted(maps.Keys(c.Errors)) {
			b.Figures = append(b.Figures, counted("errors: "+class.Label(), c.Errors[class]))
		}
		blocks = append(blocks, b)
	}
	return blocks
}

// The reasons that close a group, and what they say.
var reasons = [...]string{
	groupcommit.Drained:   "it took all that was queued",
	groupcommit.Full:      "it reached MaxLen",
	groupcommit.FullBytes: "it reached MaxBytes",
	groupcommit.Halved:    "it left half of the callers to the next one",
	groupcommit.Spread:    "it left calls to those beside it",
}

func closedTable(s *groupcommit.Stats) table {
	t := table{ID: "closed", Title: "Why groups were closed", Empty: "No group has run yet.", Columns: []string{"Reason", "Groups", "Share"}}
	for r, n := range s.Closed() {
		if n > 0 {
			t.Rows = append(t.Rows, row{Key: r.String(), Label: r.String(), About: reasons[r], Cells: []string{count(n), share(n, s.Groups)}, Count: n})
		}
	}
	return t
}

func apartTable(s *groupcommit.Stats) table {
	return table{
		ID: "apart", Title: "Why calls joined no group", Empty: "No call has run apart.", Columns: []string{"Reason", "Calls", "Share"},
		Rows: rowsOf(s.Apart),
	}
}

func errorsTable(s *groupcommit.Stats) table {
	return table{
		ID: "errors", Title: "Errors by class", Empty: "No call has failed.", Columns: []string{"Class", "Calls", "Share"},
		Rows: rowsOf(s.Errors),
	}
}

// rowsOf has a row for each count, the largest first.
func rowsOf[K interface {
	cmp.Ordered
	Label() string
	String() string
}](counts map[K]int64) []row {
	var rows []row
	all := total(counts)
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b K) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	for _, k := range keys {
		rows = append(rows, row{Key: k.Label(), Label: k.Label(), About: k.String(), Cells: []string{count(counts[k]), share(counts[k], all)}, Count: counts[k]})
	}
	return rows
}

const shownTexts = 25

func textsTable(t *texts) table {
	v := table{
		ID: "texts", Title: "Slowest texts", Columns: []string{"Text", "Calls", "Failed", "Mean", "Largest"},
		Note: "Calls in groups, by their mean latency since the beginning. Without arguments.",
	}
	if t == nil {
		v.Empty = "The option Page.Watch of this database's name has them collected."
		return v
	}
	v.Empty = "No call has come yet."
	top, others := t.slowest(shownTexts)
	for _, s := range top {
		text := s.text
		if s.cut {
			text += "…"
		}
		v.Rows = append(v.Rows, textRow(strconv.FormatUint(s.key, 36), text, &s))
	}
	if others.calls > 0 {
		v.Rows = append(v.Rows, textRow("others", "texts that were dropped, because there are too many", &others))
	}
	return v
}

func textRow(key, label string, s *textStats) row {
	return row{Key: key, Label: label, Cells: []string{count(s.calls), count(s.failures), duration(s.mean()), duration(s.longest)}, Count: s.calls}
}
