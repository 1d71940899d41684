package main

import (
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"os"
	"time"
)

//go:embed report.html
var reportText string

var reportTemplate = template.Must(template.New("report").Parse(reportText))

// htmlReport is a run for the template. The page holds its pictures, so it needs nothing else.
type htmlReport struct {
	Command, When, Machine, Pace string
	Pictures                     []template.URL
	Tables                       []htmlTable
	Cells                        [][]string
}

type htmlTable struct {
	Title string
	Head  []string
	Rows  [][]string
}

func (r *compareRun) writeHTML(file string) error {
	report := htmlReport{
		Command: r.command(), When: time.Now().UTC().Format("2 January 2006, 15:04 UTC"), Machine: versions(),
		Pace: fmt.Sprintf("Each cell has %v in %s, in turns with the others of its case.", r.time, plural(r.rounds, "slice")),
	}
	for _, p := range r.pictures() {
		text, err := p.plot.svg()
		if err != nil {
			return err
		}
		report.Pictures = append(report.Pictures, template.URL("data:image/svg+xml;base64,"+base64.StdEncoding.EncodeToString(text)))
	}
	for _, t := range []struct{ driver, title string }{{sqliteDriver, "SQLite"}, {pgxDriver, "PostgreSQL"}} {
		if rows := gridRows(r.cells, t.driver); len(rows) > 0 {
			report.Tables = append(report.Tables, htmlTable{t.title, rows[0], rows[1:]})
		}
	}
	for _, x := range r.cells {
		pool, server := "-", "-"
		if x.Pool > 0 {
			pool = fmt.Sprint(x.Pool)
		}
		if x.Database == pgxDriver {
			server = micros(x.Server)
		}
		report.Cells = append(report.Cells, []string{x.of.String(), x.Way, pool, comma(int(x.PerSecond + .5)), micros(x.P50), micros(x.P99), micros(x.P999), x.group(),
			micros(x.Client), server, fmt.Sprintf("%.1f", x.Allocs)})
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := reportTemplate.Execute(f, report); err != nil {
		f.Close()
		return err
	}
	fmt.Fprintln(r.out, "Page:", file)
	return f.Close()
}
