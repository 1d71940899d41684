package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"text/tabwriter"
)

// head announces the measurement, its machine and its place.
func head(w io.Writer, c config, p place) {
	much := fmt.Sprintf("%v for each side", c.time)
	if c.users != unbounded {
		much = comma(c.users) + " users by each side"
	}
	fmt.Fprintf(w, "%s goroutines insert users one by one: %s, in slices of %v in turns\n", comma(c.goroutines), much, compareSlice)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "machine\t%s\n", versions())
	fmt.Fprintf(t, "settings\t%s\n", p.settings(c))
	label, where := p.where()
	fmt.Fprintf(t, "%s\t%s\n", label, where)
	for _, s := range c.sides(p) {
		fmt.Fprintf(t, "%s\t%s\n", s, s.pool)
	}
	t.Flush()
	fmt.Fprintln(w)
}

func folder(dir string) string {
	switch kind := filesystem(dir); kind {
	case "":
		return dir + ", removed afterwards"
	case "tmpfs", "ramfs":
		return fmt.Sprintf("%s (%s: memory, where a sync costs nothing; TMPDIR=… takes another), removed afterwards", dir, kind)
	default:
		return fmt.Sprintf("%s (%s), removed afterwards", dir, kind)
	}
}

// summary is the table at the end.
func summary(w io.Writer, results []result, rounds []round, l *lab) {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "driver\tseconds\tinserts a second\tp50\tp99\tprocessor a call\tcommits\tmean group\tlargest group\tratio\t\n")
	for _, r := range results {
		fmt.Fprintf(t, "%s\t%.3f\t%s\t%s\t%s\t%s\t%s\t%.1f\t%s\t%s\t\n", r.title, r.Seconds, comma(int(r.PerSecond+0.5)), latency(r.P50), latency(r.P99),
			processor(r.Client, r.Server, l.served()), comma(r.Commits), r.MeanGroup, comma(r.MaxGroup), ratio(r, results[0], rounds))
	}
	t.Flush()
	fmt.Fprintln(w, "\nThe ratio is the median of the rounds, with its quartiles. Processor time is the program's"+serversToo(l)+".")
	l.printSync()
	fmt.Fprintln(w, "Every run's rows were counted, and every value found exactly once.")
}

// latency writes a time of calls, where they were timed.
func latency(us float64) string {
	if us == 0 {
		return "-"
	}
	return micros(us)
}

func serversToo(l *lab) string {
	if !l.served() {
		return ""
	}
	return ", and the server's"
}

// printSync says what a sync costs on the database's disk: the plain driver pays one a commit.
func (l *lab) printSync() {
	switch {
	case l.disk == nil:
		fmt.Fprintln(l.out, "A sync on the server's disk: not known.")
	case len(l.disk.took) == 0:
		if _, err := l.disk.syncs(); err != nil {
			fmt.Fprintf(l.out, "A sync on this disk: not known: %v.\n", err)
			return
		}
		fallthrough
	default:
		fmt.Fprintf(l.out, "A sync on this disk: %v.\n", l.disk)
	}
}

// ratio is the speed of r as a multiple of first's, round by round.
func ratio(r, first result, rounds []round) string {
	xs := values(rounds, func(x round) float64 { return perOf(x.of[r.title].rate(), x.of[first.title].rate()) })
	if first.Batch || len(xs) == 0 {
		return "-"
	}
	if len(xs) == 1 {
		return fmt.Sprintf("%.1f", xs[0])
	}
	return fmt.Sprintf("%.1f (%.1f to %.1f)", quartile(xs, 2), quartile(xs, 1), quartile(xs, 3))
}

// writeJSON writes an object with one list.
func writeJSON[R any](file string, stdout io.Writer, name string, results []R) error {
	if results == nil {
		results = []R{}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	if err := e.Encode(map[string]any{name: results}); err != nil {
		return err
	}
	if file == "-" {
		_, err := stdout.Write(b.Bytes())
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}

// comma writes 1234567 as 1,234,567.
func comma(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
