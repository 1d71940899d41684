package main

import (
	"cmp"
	"fmt"
	"strings"
)

// A rowResult is a line of the table. Its fields keep their names in the JSON.
type rowResult struct {
	Case    string      `json:"case"`
	Median  float64     `json:"median"`
	Low     float64     `json:"quartile_1"`
	High    float64     `json:"quartile_3"`
	Reach   float64     `json:"reach,omitempty"`
	AtMost  bool        `json:"at_most,omitempty"`
	Reached bool        `json:"reached"` // true where there is no goal
	Bound   string      `json:"bound,omitempty"`
	Rounds  []float64   `json:"rounds"`
	Sides   []sideShown `json:"sides"`

	row  row
	note string
}

// sideShown is a side of a row. Times are in µs; -1 is a time that is not known.
type sideShown struct {
	Name      string  `json:"name"`
	PerSecond float64 `json:"per_second"`
	Client    float64 `json:"client_us"`
	Server    float64 `json:"server_us"`
	Allocs    float64 `json:"allocs_per_call"`
	Bytes     float64 `json:"bytes_per_call"`
	MeanGroup float64 `json:"mean_group"`
	P50       float64 `json:"p50_us,omitempty"`
	P90       float64 `json:"p90_us,omitempty"`

	processor string
}

func (x row) result(l *lab, rounds []round) rowResult {
	if x.reach != nil {
		x.goal.reach = x.reach(rounds)
	}
	xs := values(rounds, x.value)
	r := rowResult{
		Case: x.name, Median: quartile(xs, 2), Low: quartile(xs, 1), High: quartile(xs, 3),
		Reach: x.goal.reach, AtMost: x.goal.atMost, Bound: x.goal.bound, Rounds: []float64{}, row: x,
	}
	r.Reached = !x.goal.missed(r.Median)
	for _, round := range rounds {
		r.Rounds = append(r.Rounds, x.value(round))
	}
	for _, side := range x.show {
		at := func(what func(slice) float64) float64 { return middle(rounds, of(what, side)) }
		r.Sides = append(r.Sides, sideShown{
			Name: side.label(), PerSecond: at(slice.rate), Client: at(slice.client), Server: at(slice.server), Allocs: at(slice.allocs), Bytes: at(slice.bytes), MeanGroup: at(slice.mean),
			P50: at(slice.median), P90: at(func(s slice) float64 { return s.p90 }), processor: l.processor(rounds, side),
		})
	}
	if x.note != nil {
		r.note = x.note(rounds)
	}
	return r
}

func (r rowResult) String() string {
	format := cmp.Or(r.row.format, "%.2f")
	measured := fmt.Sprintf("**"+format+"** ("+format+" to "+format+")", r.Median, r.Low, r.High)
	if !r.Reached {
		measured += ", not reached"
	}
	want := r.row.goal.words()
	if r.row.reach != nil {
		want = fmt.Sprintf("%.1f = %s", r.Reach, want)
	}
	var sides []string
	for _, s := range r.Sides {
		sides = append(sides, s.String())
	}
	if r.note != "" {
		sides = append(sides, r.note)
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s |", r.Case, measured, want, cmp.Or(r.Bound, "-"), strings.Join(sides, "; "))
}

func (s sideShown) String() string {
	text := fmt.Sprintf("%s %s, %s", s.Name, comma(int(s.PerSecond+.5)), s.processor)
	if s.P50 > 0 {
		text += fmt.Sprintf(", p50 %s, p90 %s", micros(s.P50), micros(s.P90))
	}
	return text
}

func (r *speedRun) summary() {
	goals, reached := 0, 0
	for _, x := range r.results {
		if x.row.goal.none() {
			continue
		}
		if goals++; x.Reached {
			reached++
		}
	}
	fmt.Fprintf(r.out, "%d of %d goals are reached so far. The rows of every side were counted, and their sums are right.\n", reached, goals)
}
