package debug

import (
	"slices"
	"time"

	"github.com/groupcommit/groupcommit"
)

// A report is one moment of a database: what the page shows without JavaScript, and what its JavaScript polls. All that is written is
// written here, so that both show the same. What happens at present (rates, and quantiles of some seconds) is the difference of two
// reports, and is made in the browser.
type report struct {
	Names   []string `json:"names"`
	Name    string   `json:"name"`
	Error   string   `json:"error,omitempty"`
	Process string   `json:"process"` // another one has begun its counting anew
	Seconds float64  `json:"seconds"` // since the page was made, by a clock that is never set
	Time    string   `json:"time"`

	Calls     int64     `json:"calls"`
	Groups    int64     `json:"groups"`
	Sizes     histogram `json:"sizes"`
	Waits     histogram `json:"waits"` // nanoseconds, as Latencies
	Latencies histogram `json:"latencies"`

	Cards    []card  `json:"-"` // for a page without JavaScript: from the beginning
	Blocks   []block `json:"blocks"`
	Tables   []table `json:"tables"`
	Commands []block `json:"commands"`
}

// histogram is groupcommit.Histogram as JSON.
type histogram struct {
	Count   int64      `json:"count"`
	Sum     int64      `json:"sum"`
	Buckets [][2]int64 `json:"buckets"` // the largest value of each, and how many are in it
}

// A card is a plot, and the figures that are its lines.
type card struct {
	ID, Title, Unit string
	Figures         []figure
}

// A block is some figures that belong together.
type block struct {
	ID      string   `json:"id"`
	Title   string   `json:"title"`
	Tag     string   `json:"tag,omitempty"`
	Note    string   `json:"note,omitempty"`
	Figures []figure `json:"figures"`
}

// Rated reports that the browser shows a rate beside a figure.
func (b block) Rated() bool {
	return slices.ContainsFunc(b.Figures, func(f figure) bool { return f.Count != nil })
}

// A figure is a number and what it is. Its count is there if its rate says something.
type figure struct {
	Label string `json:"label"`
	Value string `json:"value"`
	Count *int64 `json:"count,omitempty"`
	Bad   bool   `json:"bad,omitempty"` // it should be 0, and is not
}

// A table has one line for each of what was counted, and in its last column, which is the browser's, how often it happens now.
type table struct {
	ID      string   `json:"id"`
	Title   string   `json:"title"`
	Note    string   `json:"note,omitempty"`
	Empty   string   `json:"empty"`
	Columns []string `json:"columns"` // the first is text, the others are numbers
	Rows    []row    `json:"rows"`
}

type row struct {
	Key   string   `json:"key"`
	Label string   `json:"label"`
	About string   `json:"about,omitempty"`
	Cells []string `json:"cells"`
	Count int64    `json:"count"`
}

// report makes the report of a database; name "" is the first. ok reports whether there is such a database.
func (p *Page) report(name string) (r report, ok bool) {
	d, t, names := p.find(name)
	now := time.Now()
	r = report{
		Names: names, Name: name, Process: p.started.UTC().Format(time.RFC3339Nano),
		Seconds: now.Sub(p.started).Seconds(), Time: now.UTC().Format("2006-01-02 15:04:05 UTC"),
	}
	if d == nil {
		if r.Error = "There is no database of this name."; name == "" {
			r.Error = "There is no database yet: Page.Add has it shown."
		}
		return r, false
	}
	r.Name = d.name
	s, err := groupcommit.StatsOf(d.db)
	if err != nil {
		r.Error = err.Error()
		return r, true
	}
	r.Calls, r.Groups = s.Calls, s.Groups
	r.Sizes, r.Waits, r.Latencies = histogramOf(&s.Sizes), histogramOf(&s.Waits), histogramOf(&s.Latencies)
	r.Cards = cardsOf(&s, d, now)
	r.Blocks = blocksOf(&s)
	r.Tables = []table{closedTable(&s), apartTable(&s), errorsTable(&s), textsTable(t)}
	r.Commands = commandsOf(&s)
	return r, true
}

func histogramOf(h *groupcommit.Histogram) histogram {
	v := histogram{Count: h.Count(), Sum: h.Sum(), Buckets: [][2]int64{}}
	for most, n := range h.Buckets() {
		v.Buckets = append(v.Buckets, [2]int64{most, n})
	}
	return v
}

// cardsOf has the same cards, figures and labels as cards in page.js.
func cardsOf(s *groupcommit.Stats, d *database, now time.Time) []card {
	seconds := max(now.Sub(d.since).Seconds(), .001)
	times := func(h *groupcommit.Histogram) []figure {
		return []figure{
			{Label: "p50", Value: duration(time.Duration(h.Quantile(.5)))},
			{Label: "p99", Value: duration(time.Duration(h.Quantile(.99)))},
		}
	}
	return []card{
		{"rate", "Calls and groups", "per second", []figure{
			{Label: "calls", Value: number(float64(s.Calls-d.calls) / seconds)},
			{Label: "groups", Value: number(float64(s.Groups-d.group) / seconds)},
		}},
		{"sizes", "Calls of a group", "calls", []figure{
			{Label: "mean", Value: number(s.Sizes.Mean())},
			{Label: "p99", Value: count(s.Sizes.Quantile(.99))},
		}},
		{"latencies", "Latency of a call", "from its coming to its commit", times(&s.Latencies)},
		{"waits", "Wait of a group", "of its oldest call, in the queue", times(&s.Waits)},
	}
}

func total[K comparable](counts map[K]int64) (n int64) {
	for _, c := range counts {
		n += c
	}
	return n
}
