package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// head says what is measured and how the tables are read.
func (m *matrix) head(a axes) {
	_, where := m.server.where()
	fmt.Fprintf(m.out, "%s; %s; %s.\n", machine(), where, m.server.settings(config{}))
	fmt.Fprintf(m.out, "%d cells, %d slices of %v for each side in turns. Each cell: rate / p50 / p99, as multiples of the plain driver's; **bold** is a rate below %.2f.\n",
		len(a.cells()), m.pace.slices, m.pace.slice, goal)
	fmt.Fprintln(m.out, m.server.price())
	switch {
	case m.control:
		fmt.Fprintln(m.out, "A control: both sides are the plain driver, so what differs from 1 is noise.")
	case !knowsBound(m.server.dsn):
		fmt.Fprintf(m.out, "The library does not know %s: the swapped side has bounds of its own.\n", bound)
	}
}

func (m *matrix) tableHead(pool int, callers []int) {
	fmt.Fprintf(m.out, "\n| pool of %d: statement, round trip |", pool)
	for _, c := range callers {
		fmt.Fprintf(m.out, " %s |", plural(c, "caller"))
	}
	fmt.Fprintf(m.out, "\n|---|%s\n", strings.Repeat("---|", len(callers)))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return comma(n) + " " + what + "s"
}

func (m *matrix) tableLine(cells []cellResult) {
	fmt.Fprintf(m.out, "| %v, %v |", cells[0].cell.Statement, cells[0].cell.Trip)
	for _, c := range cells {
		fmt.Fprintf(m.out, " %s |", c.text())
	}
	fmt.Fprintln(m.out)
}

func (c cellResult) text() string {
	rate := fmt.Sprintf("%.2f", c.Ratio)
	if c.below(goal) {
		rate = "**" + rate + "**"
	}
	s := fmt.Sprintf("%s / %.2f / %.2f", rate, c.P50, c.P99)
	if c.Swapped.Errors+c.Plain.Errors > 0 {
		s += fmt.Sprintf(" (%s)", plural(c.Swapped.Errors+c.Plain.Errors, "error"))
	}
	return s
}

// below compares as the table shows it.
func (c cellResult) below(least float64) bool { return c.Ratio < least-0.005 }

// summary names the worst cell, and says how far the rounds of a cell lay apart.
func (m *matrix) summary() {
	if len(m.results) == 0 {
		return
	}
	w := m.worst()
	fmt.Fprintf(m.out, "\nWorst: %.2f, %v: %v.\n", w.Ratio, w.cell, w.duel)
	fmt.Fprintf(m.out, "%d of %d cells are below %.2f.\n", m.countBelow(goal), len(m.results), goal)
	var spreads []float64
	for _, c := range m.results {
		if s := c.spread(); s == s { // not where there was one round only
			spreads = append(spreads, s)
		}
	}
	if slices.Sort(spreads); len(spreads) > 0 {
		fmt.Fprintf(m.out, "Noise: the ratios of a cell's rounds lie %.2f of their mean apart in the median of the cells, %.2f in nine of ten.\n",
			quartile(spreads, 2), spreads[len(spreads)*9/10])
	}
	for _, c := range m.results {
		for _, s := range []score{c.Plain, c.Swapped} {
			if s.Errors > 0 {
				fmt.Fprintf(m.out, "%v, %s: %s\n", c.cell, s.Side, s.Fault)
			}
		}
	}
	fmt.Fprintln(m.out, "\nThe rows of every cell were counted, and every call's found exactly once.")
}

func (m *matrix) worst() cellResult {
	return slices.MinFunc(m.results, func(a, b cellResult) int { return cmp.Compare(a.Ratio, b.Ratio) })
}

func (m *matrix) countBelow(least float64) (n int) {
	for _, c := range m.results {
		if c.below(least) {
			n++
		}
	}
	return n
}

// verdict is nil unless a cell is below least, or a call failed.
func (m *matrix) verdict(least float64) error {
	for _, c := range m.results {
		if n := c.Plain.Errors + c.Swapped.Errors; n > 0 {
			return fmt.Errorf("%v: %s", c.cell, plural(n, "error"))
		}
	}
	if n := m.countBelow(least); n > 0 {
		return fmt.Errorf("%d of %d cells are below %.2f; the worst: %.2f, %v", n, len(m.results), least, m.worst().Ratio, m.worst().cell)
	}
	return nil
}
