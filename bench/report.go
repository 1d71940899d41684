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
	fmt.Fprintf(w, "%s users, inserted one by one by %s goroutines\n", comma(c.users), comma(c.goroutines))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "machine\t%s\n", machine())
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
func summary(w io.Writer, results []result) {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "driver\tseconds\tinserts a second\tcommits\tmean group\tlargest group\tratio\t")
	for _, r := range results {
		fmt.Fprintf(t, "%s\t%.3f\t%s\t%s\t%.1f\t%s\t%s\t\n", r.title, r.Seconds, comma(int(r.PerSecond+0.5)),
			comma(r.Commits), r.MeanGroup, comma(r.MaxGroup), ratio(r, results[0]))
	}
	t.Flush()
	fmt.Fprintln(w, "\nEvery run's rows were counted, and every value found exactly once.")
}

// ratio returns the speed of r as a multiple of first's.
func ratio(r, first result) string {
	if first.Batch || first.PerSecond == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", r.PerSecond/first.PerSecond)
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
