package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
)

// A gridCell is what a column came to in a case. Its fields keep their names in the JSON.
type gridCell struct {
	Database   string    `json:"database"`
	Durability string    `json:"durability"`
	Load       string    `json:"workload"`
	Loop       string    `json:"loop"`
	OpenLoad   float64   `json:"open_load,omitempty"`
	Callers    int       `json:"callers"`
	Failing    int       `json:"failing_percent,omitempty"`
	Sync       float64   `json:"sync_us,omitempty"`
	Way        string    `json:"way"`
	Pool       int       `json:"pool,omitempty"` // of the plain driver
	Calls      int       `json:"calls"`
	PerSecond  float64   `json:"per_second"`
	P50        float64   `json:"p50_us"`
	P99        float64   `json:"p99_us"`
	P999       float64   `json:"p999_us"`
	MeanGroup  float64   `json:"mean_group"`
	Client     float64   `json:"client_us"` // processor time of a call; -1: not known, or no server
	Server     float64   `json:"server_us"`
	Allocs     float64   `json:"allocs_per_call"`
	Bytes      float64   `json:"bytes_per_call"`
	Rounds     []gridLap `json:"rounds"`
	Parts      []gridDot `json:"distribution"`

	of gridCase
}

// gridLap is a round of a cell.
type gridLap struct {
	Calls     int     `json:"calls"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_us"`
	P99       float64 `json:"p99_us"`
	P999      float64 `json:"p999_us"`
	Client    float64 `json:"client_us"`
	Allocs    float64 `json:"allocs_per_call"`
	Bytes     float64 `json:"bytes_per_call"`
}

// gridDot says which part of the calls was answered within a time.
type gridDot struct {
	Part float64 `json:"part"`
	Took float64 `json:"us"`
}

// cell is what an entrant came to. Rates and processor times are the medians of the rounds; the times of calls are those of all
// rounds together.
func (c gridCase) cell(e *entrant, rounds []round) gridCell {
	t := e.total()
	in := func(what func(slice) float64) float64 { return middle(rounds, of(what, e.run)) }
	g := gridCell{
		Database: c.driver, Durability: c.durability, Load: c.load.name, Loop: c.loop(), OpenLoad: c.open, Callers: c.callers, Failing: c.failing,
		Sync: float64(c.sync) / 1e3, Way: e.name, Calls: t.calls,
		PerSecond: in(slice.rate), P50: quantileOf(t.times, .5), P99: quantileOf(t.times, .99), P999: quantileOf(t.times, .999),
		MeanGroup: t.mean(), Client: t.client(), Server: t.server(), Allocs: t.allocs(), Bytes: t.bytes(), Rounds: []gridLap{}, Parts: []gridDot{}, of: c,
	}
	if !e.batch {
		g.Pool = e.conns
	}
	for _, s := range e.slices {
		g.Rounds = append(g.Rounds, gridLap{s.calls, s.rate(), quantileOf(s.times, .5), quantileOf(s.times, .99), quantileOf(s.times, .999), s.client(), s.allocs(), s.bytes()})
	}
	for _, part := range shownParts {
		if float64(t.calls)*(1-part) >= 1 { // else it is one call's time, or none's
			g.Parts = append(g.Parts, gridDot{part, quantileOf(t.times, part)})
		}
	}
	return g
}

// shownParts are those of a distribution, with more of them where the rare calls are.
var shownParts = func() (parts []float64) {
	for rest := 1.0; rest > 1e-5; rest *= .9 {
		parts = append(parts, 1-rest)
	}
	return parts
}()

// inOrder has a cell for the plain driver with one connection where that is its best pool.
func (c gridCase) inOrder(cells []gridCell) (all []gridCell) {
	for _, x := range cells {
		all = append(all, x)
		if x.Way == plainColumn && x.Pool == 1 && c.sync == 0 && c.failing == 0 {
			x.Way = oneColumn
			all = append(all, x)
		}
	}
	return all
}

func printCells(w io.Writer, cells []gridCell, hasServer bool) {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "\ta second\tp50\tp99\tp99.9\tmean group\tprocessor a call\tallocs a call\t\n")
	for _, x := range cells {
		name := x.Way
		if x.Way == plainColumn {
			name += fmt.Sprintf(" (%d)", x.Pool)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%.1f\t\n", name, comma(int(x.PerSecond+.5)), micros(x.P50), micros(x.P99), micros(x.P999), x.group(),
			processor(x.Client, x.Server, hasServer), x.Allocs)
	}
	t.Flush()
}

// group is the mean group. Transactions on SQLite are in none: they share syncs.
func (x gridCell) group() string {
	if x.MeanGroup == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", x.MeanGroup)
}

// tables prints the grid: a table for each database, with a column for each way.
func (r *compareRun) tables() {
	for _, driver := range []string{sqliteDriver, pgxDriver} {
		if rows := gridRows(r.cells, driver); len(rows) > 0 {
			fmt.Fprintln(r.out)
			for i, row := range rows {
				fmt.Fprintf(r.out, "| %s |\n", strings.Join(row, " | "))
				if i == 0 {
					fmt.Fprintln(r.out, "|"+strings.Repeat("---|", len(row)))
				}
			}
		}
	}
	fmt.Fprintln(r.out, "\nEach cell: calls a second, and the 99th percentile of their times; in brackets the plain driver's best pool. A row of a program that is written by hand has")
	fmt.Fprintln(r.out, "the time of its transaction. -: the way cannot do it.")
}

// gridRows are the lines of a database's table, the first with its heads.
func gridRows(cells []gridCell, driver string) (rows [][]string) {
	var heads []string
	for _, x := range columnsOfGrid {
		if x.driver == "" || x.driver == driver {
			heads = append(heads, x.name)
		}
	}
	byCase := map[string][]string{}
	for _, x := range cells {
		if x.Database != driver {
			continue
		}
		name := x.of.String()
		if byCase[name] == nil {
			row := append([]string{name}, strings.Split(strings.Repeat("-", len(heads)), "")...)
			byCase[name] = row
			rows = append(rows, row)
		}
		for i, head := range heads {
			if head == x.Way {
				byCase[name][i+1] = x.short()
			}
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return append([][]string{append([]string{"case"}, heads...)}, rows...)
}

func (x gridCell) short() string {
	s := fmt.Sprintf("%s, %s", comma(int(x.PerSecond+.5)), micros(x.P99))
	if x.Way == plainColumn {
		s += fmt.Sprintf(" (%d)", x.Pool)
	}
	return s
}

// write writes the files that were asked for, even of a run in which something went wrong.
func (r *compareRun) write(stdout io.Writer) (err error) {
	if r.json != "" {
		err = writeJSON(r.json, stdout, "cells", r.cells)
	}
	switch r.stat {
	case "":
	case "-":
		_, failed := io.WriteString(stdout, r.benchstat())
		err = errors.Join(err, failed)
	default:
		err = errors.Join(err, os.WriteFile(r.stat, []byte(r.benchstat()), 0o644))
	}
	return err
}

// benchstat has a line for each round of each cell, as go test -bench has for each of its runs.
func (r *compareRun) benchstat() string {
	var b strings.Builder
	fmt.Fprintf(&b, "goos: %s\ngoarch: %s\npkg: github.com/groupcommit/groupcommit/bench\n", runtime.GOOS, runtime.GOARCH)
	if model := cpuModel(); model != "" {
		fmt.Fprintf(&b, "cpu: %s\n", model)
	}
	for _, x := range r.cells {
		for _, lap := range x.Rounds {
			if lap.Calls == 0 {
				continue
			}
			fmt.Fprintf(&b, "%s-%d\t%d\t%.1f ns/op\t%.0f p50-ns\t%.0f p99-ns\t%.0f p99.9-ns\t", x.benchmark(), runtime.GOMAXPROCS(0), lap.Calls,
				perOf(1e9, lap.PerSecond), 1e3*lap.P50, 1e3*lap.P99, 1e3*lap.P999)
			if lap.Client >= 0 {
				fmt.Fprintf(&b, "%.0f cpu-ns/op\t", 1e3*lap.Client)
			}
			fmt.Fprintf(&b, "%.0f B/op\t%.2f allocs/op\n", lap.Bytes, lap.Allocs)
		}
	}
	return b.String()
}

// benchmark is the cell's name among Go benchmarks.
func (x gridCell) benchmark() string {
	words := strings.Fields(strings.ReplaceAll(x.Load, ",", ""))
	for i, w := range words {
		words[i] = strings.ToUpper(w[:1]) + strings.ToLower(w[1:])
	}
	name := fmt.Sprintf("Benchmark%s/db=%s/durability=%s/loop=%s", strings.Join(words, ""), x.Database, x.Durability, x.Loop)
	if x.Failing > 0 {
		name += fmt.Sprintf("/failing=%d", x.Failing)
	}
	if x.Sync > 0 {
		name += fmt.Sprintf("/sync=%v", x.of.sync)
	}
	return fmt.Sprintf("%s/side=%s/callers=%d", name, shortOf(x.Way), x.Callers)
}

func shortOf(way string) string {
	for _, x := range columnsOfGrid {
		if x.name == way {
			return x.short
		}
	}
	return way
}
