package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheWholeMatrixHasAHundredAndTwentyCells(t *testing.T) {
	cells := wholeMatrix.cells()
	assert.Len(t, cells, 120)
	assert.Equal(t, cell{16, short, 0, 1}, cells[0])
	assert.Equal(t, cell{64, 20 * time.Millisecond, 5 * time.Millisecond, 1024}, cells[119])
}

func TestCellsAreChosenByTheValuesOfTheirAxes(t *testing.T) {
	a, err := wholeMatrix.only("statement=20ms, trip=0,callers=64,callers=3")
	require.NoError(t, err)
	assert.Equal(t, []cell{
		{16, 20 * time.Millisecond, 0, 64}, {16, 20 * time.Millisecond, 0, 3},
		{64, 20 * time.Millisecond, 0, 64}, {64, 20 * time.Millisecond, 0, 3},
	}, a.cells())
}

func TestABadFlagOfAModeIsNamedWithWhatIsAllowed(t *testing.T) {
	for args, want := range map[string]string{
		"matrix --cells cores=2":                     `invalid value "cores=2" for flag --cells: "cores=2": statement=TIME, trip=TIME, callers=N and pool=N are allowed, with commas between them`,
		"matrix --cells callers=0":                   `invalid value "callers=0" for flag --cells: "callers=0": a whole number from 1 to 10000 is allowed`,
		"matrix --cells trip=5":                      `invalid value "trip=5" for flag --cells: "trip=5": a time from 0 to 10s, such as 20ms, is allowed`,
		"matrix --slice 0s":                          `invalid value "0s" for flag --slice: a time from 1ms to 1m0s, such as 250ms, is allowed`,
		"matrix --slices 0":                          `invalid value "0" for flag --slices: a whole number from 1 to 1000 is allowed`,
		"matrix --least -1":                          `invalid value "-1" for flag --least: a number above 0, such as 0.95, is allowed`,
		"matrix --users 5":                           `flag provided but not defined: --users`,
		"matrix 5":                                   `unexpected argument "5"; only flags are allowed (--help lists them)`,
		"matrix --dsn=":                              `invalid value "" for flag --dsn: a URL such as postgres://localhost/app, or host=localhost dbname=app, is allowed`,
		"compare --callers 0":                        `invalid value "0" for flag --callers: whole numbers from 1 to 10000 are allowed, with commas between them`,
		"compare --callers 1,many":                   `invalid value "1,many" for flag --callers: whole numbers from 1 to 10000 are allowed, with commas between them`,
		"compare --rounds 0":                         `invalid value "0" for flag --rounds: a whole number from 1 to 1000 is allowed`,
		"compare --time 5ms --rounds 6":              `--time 5ms does not go with --rounds 6; each round is to be of 1ms at least`,
		"compare --only pony":                        `--only "pony" is in no case's name`,
		"compare --only PostgreSQL --driver sqlite3": `--only "postgresql" is in no case's name`,
		"compare --json - --benchstat -":             `--json - does not go with --benchstat -; standard output is for one of them`,
		"compare --all --callers 8":                  `--callers does not go with --all, which has every number of them`,
		"compare --driver sqlite3 --dsn host=db":     `--dsn does not go with --driver sqlite3, which makes files of its own`,
		"compare --benchstat /":                      `invalid value "/" for flag --benchstat: it is a folder; the name of a file is allowed, or - for standard output`,
		"compare --svg /dev/null":                    `invalid value "/dev/null" for flag --svg: it is no folder; the name of a folder is allowed`,
		"compare --svg /no/such/folder":              `invalid value "/no/such/folder" for flag --svg: the folder above it does not exist; the name of a folder in one that does is allowed`,
		"compare --html -":                           `invalid value "-" for flag --html: the name of a file is allowed`,
		"compare fast":                               `unexpected argument "fast"; only flags are allowed (--help lists them)`,
		"speed --driver sqlite3 --dsn host=db":       `--dsn does not go with --driver sqlite3, which makes files of its own`,
		"libraries --driver sqlite3 --dsn host=db":   `--dsn does not go with --driver sqlite3, which makes files of its own`,
		"libraries --driver pgx --sync 1ms":          `--sync 1ms does not go with --driver pgx, whose server syncs to the disk`,
		"switch --phase 1":                           `invalid value "1" for flag --phase: a time from 100ms to 10m0s, such as 250ms, is allowed`,
		"switch --scene sea":                         `invalid value "sea" for flag --scene: one of all, statements, callers, way is allowed`,
		"hard --cases no-such-thing":                 `--cases "no-such-thing" is in no case's name`,
		"libraries --libraries pony":                 `--libraries "pony" is in no name of them`,
		"libraries --sync 2h":                        `invalid value "2h" for flag --sync: a time from 0s to 1s, such as 250ms, is allowed`,
		"hard --json /no/such/folder/x":              `invalid value "/no/such/folder/x" for flag --json: its folder does not exist; the name of a file in one that does is allowed, or - for standard output`,
	} {
		var out, errs bytes.Buffer
		words := strings.Fields(args)
		assert.Equal(t, exitUsage, bench(words, &out, &errs), args)
		assert.Empty(t, out.String(), args)
		assert.Equal(t, "bench "+words[0]+": "+want+"\n", errs.String())
	}
}

func TestEveryModeListsItsFlags(t *testing.T) {
	for name := range modes {
		var out, errs bytes.Buffer
		assert.Zero(t, bench([]string{name, "--help"}, &out, &errs))
		assert.Contains(t, out.String(), "usage: go run ./bench "+name)
		assert.Contains(t, out.String(), "--dsn DSN")
		assert.Empty(t, errs.String())
		out.Reset()
		assert.Zero(t, bench([]string{"--help"}, &out, &errs))
		assert.Contains(t, out.String(), modes[name].summary)
	}
}

func TestQuickIsFewerAndShorterSlices(t *testing.T) {
	r := &matrixRun{pace: usualPace}
	fs := newFlagSet()
	r.flags(fs)
	require.NoError(t, fs.Parse([]string{"--quick", "--slices", "1"}))
	assert.Equal(t, pace{warm: quickPace.warm, slice: quickPace.slice, slices: 1, most: quickPace.most}, r.pace)
	assert.Equal(t, 300*time.Millisecond, r.pace.atLeast(300*time.Millisecond).slice)
	assert.Equal(t, quickPace.slice, r.pace.atLeast(0).slice)
}
