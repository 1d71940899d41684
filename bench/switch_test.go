package main

import (
	"bytes"
	"context"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAPhaseHasSettledWhereItReachesTheGoalAndStays(t *testing.T) {
	for _, c := range []struct {
		name    string
		ratios  []float64
		windows int
		ok      bool
	}{
		{"at once", []float64{1, 1, 1, 1}, 0, true},
		{"after two windows", []float64{.1, .5, 1, 1, 1}, 2, true},
		{"with one bad window afterwards", []float64{.1, 1, .9, 1, 1.1}, 1, true},
		{"not before it stops lapsing", []float64{1, 2, .9, .9, .9, 1, 1}, 5, true},
		{"not where the mean of the rest is below", []float64{1, .5, .96, .96, .96}, 2, true},
		{"never", []float64{.9, .9, .9}, 3, false},
		{"without windows", nil, 0, false},
	} {
		windows, ok := settled(c.ratios)
		assert.Equal(t, c.windows, windows, c.name)
		assert.Equal(t, c.ok, ok, c.name)
	}
}

func TestAPhaseThatSettlesLateIsNotReached(t *testing.T) {
	p := phaseResult{Scene: "way", Phase: "near", Alone: []float64{90, 110}, Window: .5, Rates: []float64{50, 100}, Settled: .5, Reached: true}
	assert.Equal(t, "| way | near | 90 and 110 a second | 0.5 s | 0.50 1.00 |", p.String())
	p.Settled = 2.5
	assert.Contains(t, p.String(), "| 2.5 s, **not reached** |")
	p.Reached = false
	assert.Contains(t, p.String(), "| never, **not reached** |")
}

func TestEverySceneIsPlayedOnOneDatabaseAndItsRowsAreCounted(t *testing.T) {
	dsn := pgtest.DSN(t)
	var told, out bytes.Buffer
	r := &switchRun{dsn: dsn, json: "-", phase: 20 * time.Millisecond, only: "all"} // the shortest that a user may choose is 100 ms
	require.NoError(t, r.measure(context.Background(), &told, &out, io.Discard))
	phases := decodedList(t, out.Bytes(), "phases")
	errs := told.String()
	require.Len(t, phases, 9)
	for i, p := range phases {
		assert.Equal(t, scenes[i/3].name, p["scene"])
		assert.Equal(t, scenes[i/3].phases[i%3].name, p["phase"])
		assert.Len(t, p["rates"], 4)
		assert.Len(t, p["alone_per_second"], 2)
	}
	assert.Len(t, regexp.MustCompile(`(?m)^\| (statements|callers|way) \|`).FindAllString(errs, -1), 9)
	assert.True(t, strings.Contains(errs, "every call's found exactly once"))
	assert.Empty(t, tables(t, dsn))
}
