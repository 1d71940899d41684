package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// A picture is a file of --svg.
type picture struct {
	file string
	plot plot
}

// kinds says how a column's curve is drawn.
var kinds = map[string]string{plainColumn: "plain", oneColumn: "one", oursColumn: "ours", timerColumn: "timer"}

func kindOf(way string) string { return cmp.Or(kinds[way], "hand") }

// pictures are those for which the run has the cells.
func (r *compareRun) pictures() (all []picture) {
	for _, g := range gridGrounds {
		if !g.durable() {
			continue
		}
		cells := slices.DeleteFunc(slices.Clone(r.cells), func(x gridCell) bool { return x.of.gridGround != g })
		for _, p := range []struct {
			name string
			draw func(cells []gridCell, sync time.Duration) (plot, bool)
		}{{"http", overParts}, {"rate", rateOverCallers}, {"p99", p99OverCallers}, {"sync", overSyncs}, {"failing", overFailing}} {
			if plot, ok := p.draw(cells, r.syncs[g]); ok {
				plot.Note = g.title() + ". " + plot.Note
				plot.Where = r.where(g)
				all = append(all, picture{p.name + "-" + g.driver + ".svg", plot})
			}
		}
	}
	return all
}

// where says where a picture was measured.
func (r *compareRun) where(g gridGround) string {
	s := shortMachine()
	if sync := r.syncs[g]; sync > 0 {
		s += "; a sync of this disk takes " + brief(float64(sync)/1e3)
	}
	return s + "."
}

func (g gridGround) title() string {
	if g.driver == sqliteDriver {
		return "SQLite, WAL, synchronous=FULL"
	}
	return "PostgreSQL, synchronous_commit=on"
}

// writePictures writes them into a folder, which it makes.
func (r *compareRun) writePictures(folder string) (err error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, p := range r.pictures() {
		text, err := p.plot.svg()
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, p.file), text, 0o644); err != nil {
			return err
		}
		fmt.Fprintln(r.out, "Picture:", filepath.Join(folder, p.file))
	}
	return nil
}

// curvesOf has a curve for each way that some cells have, in the order of the columns.
func curvesOf(cells []gridCell, x, y func(gridCell) float64) (all []curve, xs, ys []float64) {
	for _, column := range columnsOfGrid {
		c := curve{name: column.name, kind: kindOf(column.name)}
		for _, cell := range cells {
			if cell.Way == column.name {
				c.dots = append(c.dots, dot{x: x(cell), y: y(cell)})
			}
		}
		slices.SortFunc(c.dots, func(a, b dot) int { return cmp.Compare(a.x, b.x) })
		for _, d := range c.dots {
			xs, ys = append(xs, d.x), append(ys, d.y)
		}
		same := func(o curve) bool { return slices.Equal(o.dots, c.dots) } // the best pool is of one connection
		if len(c.dots) > 1 && !slices.ContainsFunc(all, same) {
			all = append(all, c)
		}
	}
	// What is ours lies over the others.
	slices.SortStableFunc(all, func(a, b curve) int { return cmp.Compare(rank(a.kind), rank(b.kind)) })
	return all, xs, ys
}

func rank(kind string) int {
	return slices.Index([]string{"hand", "timer", "one", "plain", "ours"}, kind)
}

// isInsert says whether a cell is of the usual insert in a closed loop.
func (x gridCell) isInsert() bool {
	return x.Load == insertLoad.name && x.Loop == "closed" && x.Failing == 0 && x.Sync == 0
}

// byCallers are the closed loops of inserts.
func byCallers(cells []gridCell) []gridCell {
	return slices.DeleteFunc(slices.Clone(cells), func(x gridCell) bool {
		return !x.isInsert() || kindOf(x.Way) == "hand" && x.Way != handOf(x.Database)
	})
}

// handOf is the program written by hand that stands for the others in the pictures.
func handOf(driver string) string {
	if driver == sqliteDriver {
		return loopColumn
	}
	return batchColumn
}

func overCallers(cells []gridCell, y func(gridCell) float64) (all []curve, x scale, ys []float64, ok bool) {
	all, xs, ys := curvesOf(cells, func(c gridCell) float64 { return float64(c.Callers) }, y)
	if len(all) == 0 {
		return nil, x, nil, false
	}
	slices.Sort(xs)
	xs = slices.Compact(xs)
	x = scale{Title: "callers that write at the same time", log: true, from: xs[0], to: xs[len(xs)-1]}
	for _, at := range xs {
		x.ticks = append(x.ticks, scaleTick{at, comma(int(at))})
	}
	return all, x, ys, true
}

func rateOverCallers(cells []gridCell, _ time.Duration) (p plot, ok bool) {
	all, x, ys, ok := overCallers(byCallers(cells), func(c gridCell) float64 { return c.PerSecond })
	if !ok {
		return p, false
	}
	return plot{Title: "Inserts a second, by the number of callers", Note: "Each caller waits for its answer.", X: x, Y: logScale("inserts a second", ys, counted), all: all}, true
}

func p99OverCallers(cells []gridCell, _ time.Duration) (p plot, ok bool) {
	cells = slices.DeleteFunc(byCallers(cells), func(x gridCell) bool { return kindOf(x.Way) == "hand" })
	all, x, ys, ok := overCallers(cells, func(c gridCell) float64 { return c.P99 })
	if !ok {
		return p, false
	}
	return plot{Title: "The time within which 99 of 100 inserts are answered", Note: "Each caller waits for its answer.", X: x, Y: logScale("p99", ys, brief), all: all}, true
}

// overParts is the distribution of the times of the HTTP server's requests, before and after the swap.
func overParts(cells []gridCell, _ time.Duration) (p plot, ok bool) {
	before, okB := find(cells, plainColumn, func(x gridCell) bool { return x.of.load.shape == served })
	after, okA := find(cells, oursColumn, func(x gridCell) bool { return x.of.load.shape == served })
	if !okB || !okA {
		return p, false
	}
	least := min(len(before.Parts), len(after.Parts))
	if least < 2 {
		return p, false
	}
	rarest := 1 / (1 - before.Parts[least-1].Part)
	x := scale{Title: "of the requests, so many are answered within the time", log: true, from: 1, to: rarest}
	for _, t := range []scaleTick{{1, "0 %"}, {2, "50 %"}, {10, "90 %"}, {100, "99 %"}, {1000, "99.9 %"}, {10_000, "99.99 %"}} {
		if t.at <= rarest {
			x.ticks = append(x.ticks, t)
		}
	}
	most := max(before.Parts[least-1].Took, after.Parts[least-1].Took)
	for _, c := range []struct {
		gridCell
		name string
	}{{before, "before: the plain driver"}, {after, "after: groupcommit"}} {
		line, marks := curve{name: c.name, kind: kindOf(c.Way), bare: true}, curve{kind: kindOf(c.Way), free: true}
		for _, part := range c.Parts[:least] {
			line.dots = append(line.dots, dot{x: 1 / (1 - part.Part), y: part.Took})
		}
		if rarest >= 100 {
			marks.dots = append(marks.dots, dot{100, c.P99, "p99 " + brief(c.P99)})
		}
		p.all = append(p.all, line, marks)
	}
	p.Title = fmt.Sprintf("An HTTP server with %s: p99 %s before, %s after", plural(before.Callers, "client"), brief(before.P99), brief(after.P99))
	p.Note = fmt.Sprintf("%s requests a second before, %s after.", comma(int(before.PerSecond+.5)), comma(int(after.PerSecond+.5)))
	p.X, p.Y = x, fromZero("time of a request", most, brief)
	return p, true
}

func find(cells []gridCell, way string, which func(gridCell) bool) (gridCell, bool) {
	i := slices.IndexFunc(cells, func(x gridCell) bool { return x.Way == way && which(x) })
	if i < 0 {
		return gridCell{}, false
	}
	return cells[i], true
}

// overSyncs has made disks in a line, and the real one beside it.
func overSyncs(cells []gridCell, sync time.Duration) (p plot, ok bool) {
	made := slices.DeleteFunc(slices.Clone(cells), func(x gridCell) bool { return x.Sync == 0 })
	all, xs, ys := curvesOf(made, func(c gridCell) float64 { return c.Sync }, func(c gridCell) float64 { return c.PerSecond })
	if len(all) == 0 {
		return p, false
	}
	for _, way := range []string{plainColumn, oursColumn} {
		own, ok := find(cells, way, func(x gridCell) bool { return x.isInsert() && x.Callers == curveCallers })
		if ok && sync > 0 {
			all = append(all, curve{kind: kindOf(way), free: true, dots: []dot{{x: float64(sync) / 1e3, y: own.PerSecond, text: "this disk"}}})
			xs, ys = append(xs, float64(sync)/1e3), append(ys, own.PerSecond)
		}
	}
	return plot{Title: "Inserts a second, by what a sync of the disk takes", Note: fmt.Sprintf("%d callers. The lines are of a made disk.", curveCallers),
		X: logScale("time of a sync", xs, brief), Y: logScale("inserts a second", ys, counted), all: all}, true
}

func overFailing(cells []gridCell, _ time.Duration) (p plot, ok bool) {
	some := slices.DeleteFunc(slices.Clone(cells), func(x gridCell) bool {
		return x.Failing == 0 && !(x.isInsert() && x.Callers == curveCallers) || x.Way != plainColumn && x.Way != oursColumn
	})
	all, xs, ys := curvesOf(some, func(c gridCell) float64 { return float64(c.Failing) }, func(c gridCell) float64 { return c.PerSecond })
	if len(all) == 0 {
		return p, false
	}
	slices.Sort(xs)
	x := scale{Title: "of 100 calls, so many violate a unique key", from: xs[0], to: xs[len(xs)-1]}
	for _, at := range slices.Compact(xs) {
		if at != 1 { // too near to 0
			x.ticks = append(x.ticks, scaleTick{at, fmt.Sprint(at)})
		}
	}
	return plot{Title: "Calls a second, by the share of those that fail", Note: fmt.Sprintf("%d callers.", curveCallers), X: x, Y: logScale("calls a second", ys, counted), all: all}, true
}

func counted(x float64) string { return comma(int(x + .5)) }

// brief writes µs as a picture does.
func brief(us float64) string {
	d := time.Duration(us * 1e3)
	switch {
	case d == 0:
		return "0"
	case d < time.Millisecond:
		return fmt.Sprintf("%.3g µs", us)
	case d < time.Second:
		return fmt.Sprintf("%.3g ms", us/1e3)
	}
	return fmt.Sprintf("%.3g s", us/1e6)
}
