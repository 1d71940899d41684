package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWithoutFlagsItIsTheArticlesBenchmarkOnBothSides(t *testing.T) {
	c, err := parseFlags(nil)
	require.NoError(t, err)
	assert.Equal(t, config{driver: "sqlite3", users: unbounded, time: usualTime, goroutines: 64, api: "exec", synchronous: "full", rounds: 5}, c)
	assert.Equal(t, []string{"sqlite3", "sqlite3-groupcommit"}, drivers(c))
}

func TestTheFlagsSayWhichSidesAreRun(t *testing.T) {
	for args, want := range map[string][]string{
		"--batch":               {"sqlite3-groupcommit"},
		"--no-batch":            {"sqlite3"},
		"--batch --no-batch":    {"sqlite3", "sqlite3-groupcommit"},
		"--batch=false":         {"sqlite3", "sqlite3-groupcommit"},
		"--no-batch --users=10": {"sqlite3"},

		"--api commands":                    {"sqlite3", "sqlite3-groupcommit (Exec)", "sqlite3-groupcommit (commands)"},
		"--api Commands --batch":            {"sqlite3-groupcommit (Exec)", "sqlite3-groupcommit (commands)"},
		"--api commands --no-batch":         {"sqlite3"},
		"--api commands --batch --no-batch": {"sqlite3", "sqlite3-groupcommit (Exec)", "sqlite3-groupcommit (commands)"},
		"--api exec":                        {"sqlite3", "sqlite3-groupcommit"},

		"--driver pgx --api commands":         {"pgx", "pgx-groupcommit (Exec)", "pgx-groupcommit (commands)"},
		"--driver pgx --api commands --batch": {"pgx-groupcommit (Exec)", "pgx-groupcommit (commands)"},

		"--driver pgx":                       {"pgx", "pgx-groupcommit", "pgx.Batch"},
		"--driver PGX --batch":               {"pgx-groupcommit"},
		"--driver pgx --no-batch":            {"pgx"},
		"--driver=pgx --batch --no-batch":    {"pgx", "pgx-groupcommit", "pgx.Batch"},
		"--driver pgx --dsn host=db --batch": {"pgx-groupcommit"},
	} {
		c, err := parseFlags(strings.Fields(args))
		require.NoError(t, err, args)
		assert.Equal(t, want, drivers(c), args)
	}
}

func drivers(c config) (names []string) {
	p := map[string]place{"sqlite3": dir(""), "pgx": &cluster{}}[c.driver]
	for _, s := range c.sides(p) {
		names = append(names, s.String())
	}
	return names
}

func TestEveryFlagIsTakenAtTheEndsOfWhatIsAllowed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "runs.json")
	c, err := parseFlags([]string{"--users", "1000000", "--goroutines", "1", "--maxlen", "1", "--synchronous", "OFF", "--verbose", "--json", file})
	require.NoError(t, err)
	assert.Equal(t, config{driver: "sqlite3", users: 1_000_000, time: usualTime, goroutines: 1, api: "exec", maxLen: 1, synchronous: "off", verbose: true, json: file, rounds: 5}, c)
	c, err = parseFlags([]string{"--table", "--rounds", "2", "--json", "-"})
	require.NoError(t, err)
	assert.Equal(t, 2, c.rounds)
}

func TestABadFlagIsNamedWithItsValueAndWhatIsAllowed(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--users -1", `invalid value "-1" for flag --users: a whole number from 1 to 1000000 is allowed`},
		{"--users 0", `invalid value "0" for flag --users: a whole number from 1 to 1000000 is allowed`},
		{"--users 1000001", `invalid value "1000001" for flag --users: a whole number from 1 to 1000000 is allowed`},
		{"--users many", `invalid value "many" for flag --users: a whole number from 1 to 1000000 is allowed`},
		{"--goroutines 0", `invalid value "0" for flag --goroutines: a whole number from 1 to 1000000 is allowed`},
		{"--maxlen -1", `invalid value "-1" for flag --maxlen: a whole number from 0 to 2147483647 is allowed`},
		{"--synchronous extra", `invalid value "extra" for flag --synchronous: one of off, normal, full is allowed`},
		{"--batch=perhaps", `invalid boolean value "perhaps" for --batch: true, false or no value is allowed`},
		{"--json /no/such/folder/x", `invalid value "/no/such/folder/x" for flag --json: its folder does not exist; the name of a file in one that does is allowed, or - for standard output`},
		{"--json /", `invalid value "/" for flag --json: it is a folder; the name of a file is allowed, or - for standard output`},
		{"--table --rounds 0", `invalid value "0" for flag --rounds: a whole number from 1 to 100 is allowed`},
		{"--users", `flag needs an argument: --users`},
		{"--user 1", `flag provided but not defined: --user`},
		{"10000", `unexpected argument "10000"; only flags are allowed, or one of compare, hard, libraries, matrix, speed, switch, transactions before them (--help lists them)`},
		{"--table --users 5", `--users does not go with --table, which makes its own runs; only --driver, --dsn, --rounds, --json and --cpuprofile do`},
		{"--table --api commands", `--api does not go with --table, which makes its own runs; only --driver, --dsn, --rounds, --json and --cpuprofile do`},
		{"--api promises", `invalid value "promises" for flag --api: one of exec, commands is allowed`},
		{"--driver mysql", `invalid value "mysql" for flag --driver: one of sqlite3, pgx is allowed`},
		{"--dsn host=db", `--dsn goes only with --driver pgx; --driver sqlite3 makes a file of its own`},
		{"--driver pgx --dsn=", `invalid value "" for flag --dsn: a URL such as postgres://localhost/app, or host=localhost dbname=app, is allowed`},
		{"--driver pgx --synchronous off", `--synchronous off does not go with --driver pgx; a setting of its own is allowed in --dsn: synchronous_commit=off`},
		{"--driver pgx --maxlen 5 --dsn postgres://db/app?groupcommit_maxlen=9", `--maxlen 5 does not go with a --dsn that holds groupcommit_maxlen; one of them is allowed`},
		{"--table --driver pgx --batch", `--batch does not go with --table, which makes its own runs; only --driver, --dsn, --rounds, --json and --cpuprofile do`},
		{"--failing 0", `invalid value "0" for flag --failing: a whole number from 1 to 50 is allowed`},
		{"--failing 51", `invalid value "51" for flag --failing: a whole number from 1 to 50 is allowed`},
		{"--failing 5 --table", `--failing 5 does not go with --table; one of them is allowed`},
		{"--failing 5 --users 9", `--users does not go with --failing, which makes its own runs; only --driver, --dsn, --rounds, --json and --cpuprofile do`},
		{"--users 5 --time 1s", `--time 1s does not go with --users; one of them is allowed`},
		{"--time 0s", `invalid value "0s" for flag --time: a time from 1ms to 1h0m0s, such as 250ms, is allowed`},
		{"--cpuprofile -", `invalid value "-" for flag --cpuprofile: the name of a file is allowed`},
		{"--rounds 3", `--rounds goes only with --table or --failing`},
	} {
		_, err := parseFlags(strings.Fields(c.args))
		assert.EqualError(t, err, c.want, c.args)
	}
}

func TestABadDSNIsPgxsErrorWithoutThePassword(t *testing.T) {
	_, err := parseFlags([]string{"--driver", "pgx", "--dsn", "postgres://me:s3cret@db:port/app"})
	assert.ErrorContains(t, err, "--dsn is not one that pgx allows")
	assert.NotContains(t, err.Error(), "s3cret")
}
