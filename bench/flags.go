package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// config holds the values of the flags.
type config struct {
	driver      string
	dsn         string // ""; or a PostgreSQL server's
	users       int    // unbounded: time ends the run
	time        time.Duration
	goroutines  int
	api         string
	maxLen      int // 0: the library's default
	synchronous string
	batch       bool
	noBatch     bool
	verbose     bool
	json        string
	profile     string
	table       bool
	failing     int // of 100 calls; 0: other runs
	rounds      int
}

// sides are the sides to run: all that p has, unless the user asked for groupcommit or the plain driver alone.
func (c config) sides(p place) []side {
	all := p.sides(c.api)
	switch {
	case c.batch && !c.noBatch:
		return slices.DeleteFunc(all, func(s side) bool { return !s.batch || s.alone })
	case c.noBatch && !c.batch:
		return all[:1]
	}
	return all
}

const mostUsers = 1_000_000

// usualTime is each side's, where no flag says anything else.
const usualTime = 4 * time.Second

func parseFlags(args []string) (config, error) {
	c := config{time: usualTime}
	fs := flagSet(&c)
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return c, err
	} else if err != nil {
		return c, errors.New(twoDashes.Replace(err.Error()))
	}
	if fs.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %q; only flags are allowed, or one of %s before them (--help lists them)", fs.Arg(0), strings.Join(slices.Sorted(maps.Keys(modes)), ", "))
	}
	return c, c.agree(fs)
}

// agree checks flags that are right by themselves and wrong together.
func (c config) agree(fs *flag.FlagSet) (err error) {
	fs.Visit(func(f *flag.Flag) {
		switch {
		case c.table && !slices.Contains([]string{"table", "rounds", "json", "driver", "dsn", "failing", "cpuprofile"}, f.Name):
			err = fmt.Errorf("--%s does not go with --table, which makes its own runs; only --driver, --dsn, --rounds, --json and --cpuprofile do", f.Name)
		case c.table && c.failing > 0 && f.Name == "failing":
			err = fmt.Errorf("--failing %s does not go with --table; one of them is allowed", f.Value)
		case !c.table && c.failing > 0 && !slices.Contains([]string{"failing", "rounds", "json", "driver", "dsn", "cpuprofile"}, f.Name):
			err = fmt.Errorf("--%s does not go with --failing, which makes its own runs; only --driver, --dsn, --rounds, --json and --cpuprofile do", f.Name)
		case !c.table && c.failing == 0 && f.Name == "rounds":
			err = fmt.Errorf("--rounds goes only with --table or --failing")
		case c.users != unbounded && f.Name == "time":
			err = fmt.Errorf("--time %s does not go with --users; one of them is allowed", f.Value)
		case c.driver != pgxDriver && f.Name == "dsn":
			err = fmt.Errorf("--dsn goes only with --driver pgx; --driver %s makes a file of its own", c.driver)
		case c.driver == pgxDriver && f.Name == "synchronous":
			err = fmt.Errorf("--synchronous %s does not go with --driver pgx; a setting of its own is allowed in --dsn: synchronous_commit=off", f.Value)
		case f.Name == "maxlen" && strings.Contains(c.dsn, "groupcommit_maxlen"):
			err = fmt.Errorf("--maxlen %s does not go with a --dsn that holds groupcommit_maxlen; one of them is allowed", f.Value)
		}
	})
	if err == nil {
		err = checkDSN(c.dsn)
	}
	return err
}

// goesWith checks a DSN where both databases are measured, or one.
func goesWith(driver, dsn string) error {
	if driver == sqliteDriver && dsn != "" {
		return errors.New("--dsn does not go with --driver sqlite3, which makes files of its own")
	}
	return checkDSN(dsn)
}

func checkDSN(dsn string) error {
	if dsn == "" {
		return nil
	}
	if _, err := pgx.ParseConfig(dsn); err != nil { // pgx leaves out the password, which package flag would not
		return fmt.Errorf("--dsn is not one that pgx allows: %w", err)
	}
	return nil
}

func newFlagSet() *flag.FlagSet {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // errors are printed once, by main
	return fs
}

func flagSet(c *config) *flag.FlagSet {
	fs := newFlagSet()
	fs.Var(word(&c.driver, sqliteDriver, sqliteDriver, pgxDriver), "driver", "the plain driver and its database: `sqlite3 or pgx`")
	dsnFlag(fs, &c.dsn)
	fs.Var(span(&c.time, time.Millisecond, time.Hour), "time", "`TIME` for which each side inserts users, in turn with the others")
	c.users = unbounded
	fs.Func("users", "`N` users to insert by each side, 1 to 1,000,000, however long that takes", func(s string) error {
		return whole(&c.users, 1, 1, mostUsers).Set(s)
	})
	fs.Var(whole(&c.goroutines, 64, 1, mostUsers), "goroutines", "`N` goroutines that insert them, at least 1")
	fs.Var(word(&c.api, viaExec, viaExec, viaCommands), "api", "how groupcommit is used: `exec or commands`; commands are measured beside Exec")
	fs.Var(whole(&c.maxLen, 0, 0, 1<<31-1), "maxlen", "`N` calls at most in a group, or commands in a batch; 0 is the library's own limit")
	fs.Var(word(&c.synchronous, "full", "off", "normal", "full"), "synchronous", "SQLite's `synchronous`: off, normal or full; not for pgx")
	fs.Var(truth{&c.batch}, "batch", "only groupcommit")
	fs.Var(truth{&c.noBatch}, "no-batch", "only the plain driver")
	fs.Var(truth{&c.verbose}, "verbose", "one line for each group or batch, or for each value without them")
	jsonFlag(fs, &c.json, "runs")
	fs.Var(whole(&c.failing, 0, 1, 50), "failing", "measure what it costs where `N` calls in 100 fail, 1 to 50, by what makes them fail; 64 and 1,024 goroutines")
	fs.Var(whole(&c.rounds, 5, 1, 100), "rounds", "`N` rounds of --failing, or slices of --table, 1 to 100")
	fs.Var(truth{&c.table}, "table", "the same as the mode speed, for --driver alone, with so many slices as --rounds")
	profileFlag(fs, &c.profile)
	return fs
}

func dsnFlag(fs *flag.FlagSet, to *string) {
	fs.Func("dsn", "the PostgreSQL server at `DSN`, in tables that are dropped afterwards; without it a throwaway cluster", func(s string) error {
		if *to = s; s == "" {
			return errors.New("a URL such as postgres://localhost/app, or host=localhost dbname=app, is allowed")
		}
		return nil
	})
}

func jsonFlag(fs *flag.FlagSet, to *string, what string) {
	fs.Func("json", "write the "+what+" to `FILE` as JSON; - is standard output", func(s string) error {
		*to = s
		return writable(s)
	})
}

// twoDashes rewrites package flag's messages with the flags as they are typed here.
var twoDashes = strings.NewReplacer("for -", "for --", "for flag -", "for flag --", "defined: -", "defined: --", "argument: -", "argument: --")

func usage(w io.Writer) {
	fmt.Fprintln(w, "usage: go run ./bench [flags]\n\nInserts users into SQLite or PostgreSQL through the plain driver and through groupcommit, by Exec or by commands\nwith a batch handler, and compares.")
	fmt.Fprintln(w)
	listFlags(w, flagSet(&config{time: usualTime}))
	fmt.Fprintln(w, "\nModes with flags of their own, by go run ./bench MODE [flags]; PostgreSQL's server is found or started as above:")
	for _, name := range slices.Sorted(maps.Keys(modes)) {
		fmt.Fprintf(w, "  %-26s %s\n", name, modes[name].summary)
	}
}

func listFlags(w io.Writer, fs *flag.FlagSet) {
	fs.VisitAll(func(f *flag.Flag) {
		name, text := flag.UnquoteUsage(f)
		if f.DefValue != "" && f.DefValue != "false" {
			text += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(w, "  %-26s %s\n", "--"+f.Name+" "+name, text)
	})
}

// value is a flag.Value made of two functions.
type value struct {
	set  func(string) error
	text func() string
}

func (v value) Set(s string) error { return v.set(s) }
func (v value) String() string {
	if v.text == nil {
		return ""
	}
	return v.text()
}

func whole(to *int, initial, least, most int) value {
	*to = initial
	set := func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			return fmt.Errorf("a whole number from %d to %d is allowed", least, most)
		}
		*to = n
		return nil
	}
	return value{set, func() string { return strconv.Itoa(*to) }}
}

func word(to *string, initial string, allowed ...string) value {
	*to = initial
	set := func(s string) error {
		*to = strings.ToLower(s)
		if !slices.Contains(allowed, *to) {
			return fmt.Errorf("one of %s is allowed", strings.Join(allowed, ", "))
		}
		return nil
	}
	return value{set, func() string { return *to }}
}

// truth is a flag that needs no value.
type truth struct{ to *bool }

func (t truth) IsBoolFlag() bool { return true }
func (t truth) String() string   { return strconv.FormatBool(t.to != nil && *t.to) }
func (t truth) Set(s string) (err error) {
	if *t.to, err = strconv.ParseBool(s); err != nil {
		return errors.New("true, false or no value is allowed")
	}
	return nil
}

// writableFolder is writable for a folder, which need not be there.
func writableFolder(folder string) error {
	if folder == "" || folder == "-" {
		return errors.New("the name of a folder is allowed")
	}
	if i, err := os.Stat(folder); err == nil {
		if !i.IsDir() {
			return errors.New("it is no folder; the name of a folder is allowed")
		}
		return nil
	}
	if i, err := os.Stat(filepath.Dir(folder)); err != nil || !i.IsDir() {
		return errors.New("the folder above it does not exist; the name of a folder in one that does is allowed")
	}
	return nil
}

// writable finds out before a long run that its JSON could not be written.
func writable(file string) error {
	if file == "-" {
		return nil
	}
	if file == "" {
		return errors.New("the name of a file is allowed, or - for standard output")
	}
	if i, err := os.Stat(file); err == nil && i.IsDir() {
		return errors.New("it is a folder; the name of a file is allowed, or - for standard output")
	}
	if i, err := os.Stat(filepath.Dir(file)); err != nil || !i.IsDir() {
		return errors.New("its folder does not exist; the name of a file in one that does is allowed, or - for standard output")
	}
	return nil
}
