package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
)

// A hardCase is a program that groups could serve worse than the plain driver does, with the goals for it.
type hardCase struct {
	name string
	rate float64 // at least this part of the plain driver's rate; 0: the rate says nothing
	p99  float64 // at most so many times the plain driver's
	need int     // connections that the server must have room for
	own  string  // why it needs a server of our own; "" where it does not
	duel func(ctx context.Context, h *hard) (duel, error)
}

// The usual goals.
const (
	rateGoal = goal
	p99Goal  = 1.2
)

var hardCases = slices.Concat(statementCases, lockCases, poolCases, readCases, otherCases)

// hard measures cases: on a PostgreSQL server, in a folder for SQLite, and with a made-up driver.
type hard struct {
	server *cluster
	pace   pace
	most   int // callers of a workload, and connections of a pool, for tests; 0: as many as it has
}

// A hardResult is what a case came to. Its fields keep their names in the JSON.
type hardResult struct {
	Case    string  `json:"case"`
	Ratio   float64 `json:"ratio"`
	P99     float64 `json:"p99_ratio"`
	Reached bool    `json:"reached"`
	duel

	of hardCase
}

// hardRun is the mode hard with its flags.
type hardRun struct {
	dsn, json string
	pace      pace
	only      string

	results []hardResult
}

func (r *hardRun) flags(fs *flag.FlagSet) {
	dsnFlag(fs, &r.dsn)
	jsonFlag(fs, &r.json, "cases")
	paceFlags(fs, &r.pace)
	fs.Func("cases", "only those whose name has `WORDS` in it", func(s string) error {
		r.only = s
		return nil
	})
}

func (r *hardRun) chosen() []hardCase {
	return slices.DeleteFunc(slices.Clone(hardCases), func(c hardCase) bool { return !strings.Contains(c.name, r.only) })
}

func (r *hardRun) agree() error {
	if len(r.chosen()) == 0 {
		return fmt.Errorf("--cases %q is in no case's name", r.only)
	}
	return checkDSN(r.dsn)
}

func (r *hardRun) jsonFile() string  { return r.json }
func (r *hardRun) serverDSN() string { return r.dsn }

func (r *hardRun) measure(ctx context.Context, out, stdout, stderr io.Writer) (err error) {
	server, err := startCluster(ctx, r.dsn, manyConnections)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.close()) }()
	h := &hard{server: server, pace: r.pace.on(server)}
	_, where := server.where()
	fmt.Fprintf(out, "%s; %s; %s.\n", machine(), where, server.settings(config{}))
	fmt.Fprintf(out, "%d slices of %v for each side in turns; the plain driver at the pool that serves it best.\n", r.pace.slices, r.pace.slice)
	fmt.Fprintln(out, server.price())
	if !knowsBound(server.dsn) {
		fmt.Fprintf(out, "The library does not know %s: the swapped side has bounds of its own.\n", bound)
	}
	fmt.Fprintln(out, "\n| case | rate, of the plain driver's | p99, times the plain driver's | swapped | plain |\n|---|---|---|---|---|")
	b := bar{to: stderr, on: isTerminal(stderr)}
	var leftOut []string
	for _, c := range r.chosen() {
		if why := h.unfit(c); why != "" {
			leftOut = append(leftOut, fmt.Sprintf("Left out: %s; %s.", c.name, why))
			continue
		}
		var begun atomic.Int64
		stop := b.watch(c.name, 1, &begun)
		d, err := c.duel(ctx, h)
		stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		res := hardResult{Case: c.name, Ratio: d.rate(), P99: d.p99(), duel: d, of: c}
		res.Reached = res.reached()
		r.results = append(r.results, res)
		fmt.Fprintln(out, res)
	}
	r.summary(out, leftOut)
	if r.json != "" {
		return writeJSON(r.json, stdout, "cases", r.results)
	}
	return nil
}

func (r *hardRun) summary(out io.Writer, leftOut []string) {
	fmt.Fprintln(out)
	reached := 0
	for _, res := range r.results {
		if res.Reached {
			reached++
		}
		for _, s := range []score{res.Swapped, res.Plain} {
			if s.Errors > 0 {
				fmt.Fprintf(out, "%s, %s: %s\n", res.Case, s.Side, s.Fault)
			}
		}
	}
	for _, text := range leftOut {
		fmt.Fprintln(out, text)
	}
	fmt.Fprintf(out, "%d of %d cases reach their goals. Rows and sums were checked after every case.\n", reached, len(r.results))
}

// unfit says why a case cannot be measured here.
func (h *hard) unfit(c hardCase) string {
	switch {
	case c.own != "" && h.server.server == nil:
		return c.own
	case c.need > h.server.room:
		return fmt.Sprintf("max_connections leaves room for %d, and it needs %d", h.server.room, c.need)
	}
	return ""
}

// reached compares as the table shows it. An error of the swapped side is not reached, whatever the rates are.
func (r hardResult) reached() bool {
	return !r.rateMissed() && !r.p99Missed() && r.Swapped.Errors <= r.Plain.Errors
}

func (r hardResult) rateMissed() bool { return r.of.rate > 0 && r.Ratio < r.of.rate-0.005 }
func (r hardResult) p99Missed() bool  { return r.P99 > r.of.p99+0.005 }

func (r hardResult) String() string {
	rate := "-"
	if r.of.rate > 0 {
		rate = judged(r.Ratio, fmt.Sprintf("at least %.2f", r.of.rate), r.rateMissed())
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s |", r.Case, rate,
		judged(r.P99, fmt.Sprintf("at most %.2f", r.of.p99), r.p99Missed()), r.Swapped, r.Plain)
}

func judged(ratio float64, want string, missed bool) string {
	if missed {
		return fmt.Sprintf("**%.2f**, not reached (%s)", ratio, want)
	}
	return fmt.Sprintf("%.2f (%s)", ratio, want)
}

func (s score) String() string {
	text := fmt.Sprintf("%s: %s a second, p50 %s, p99 %s, longest %s, processor a call %s", s.Side, comma(int(s.PerSecond+.5)), millis(s.P50), millis(s.P99), millis(s.Longest), s.processor())
	if s.Errors > 0 {
		text += ", **" + plural(s.Errors, "error") + "**"
	}
	return text
}
