// Command users is the article's program with groupcommit: a data structure, a handler that inserts a batch of users, and
// 10,000 promises. One call makes each promise, and the program awaits them all. No code of the program collects a batch.
//
//	go run ./examples/users                       # in batches
//	go run ./examples/users --no-batch            # one after the other, through the plain driver
//	go run ./examples/users --batch --users=50000
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/groupcommit/groupcommit"
	_ "github.com/groupcommit/groupcommit/sqlite3"
	_ "github.com/mattn/go-sqlite3"
)

// InsertUser is the data structure: the command to insert one user. It stands for a call, and the caller gets a promise.
type InsertUser struct{ ID int }

// insertInBatches makes all calls without waiting for any, and then awaits them. It returns how many commits they took.
func insertInBatches(ctx context.Context, db *sql.DB, users int, log io.Writer) (commits int64, err error) {
	// The handler gets a batch of them, and a transaction which is committed when it returns nil. No promise is settled
	// before the commit. After an error the users were never inserted.
	handler := func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[InsertUser, struct{}]) error {
		for _, c := range batch {
			if _, err := tx.ExecContext(ctx, "INSERT INTO users (value) VALUES (?)", c.Value.ID); err != nil {
				return err
			}
		}
		fmt.Fprintf(log, "Values from %d to %d have been inserted.\n", batch[0].Value.ID, batch[len(batch)-1].Value.ID)
		return nil
	}

	// The two belong together on this database, in batches of at most 1,000. A batch that fails is not tried again.
	inserts, err := groupcommit.Handle(db, handler, groupcommit.MaxLen(1000), groupcommit.Retry(groupcommit.Never))
	if err != nil {
		return 0, err
	}

	// Each call has another id. A second call with the same id, here or after a crash, is answered and not carried out
	// again.
	promises := make([]*groupcommit.PromiseOf[struct{}], users)
	for u := range promises {
		promises[u] = inserts.Go(ctx, fmt.Sprintf("insert-user-%d", u), InsertUser{ID: u})
	}
	for u, p := range promises {
		if _, err := p.Await(ctx); err != nil {
			return 0, fmt.Errorf("user %d: %w", u, err)
		}
	}
	return inserts.Stats().Groups, nil
}

// insertOneByOne is the article's program for comparison: a commit for each user.
func insertOneByOne(ctx context.Context, db *sql.DB, users int, log io.Writer) (commits int64, err error) {
	for u := range users {
		if _, err := db.ExecContext(ctx, "INSERT INTO users (value) VALUES (?)", u); err != nil {
			return 0, fmt.Errorf("user %d: %w", u, err)
		}
		fmt.Fprintf(log, "Value %d has been inserted.\n", u)
	}
	return int64(users), nil
}

// run inserts the users into a new database, one way or the other, and prints the time. Both ways every commit is on the
// disk before its caller is answered: that is synchronous=FULL.
func run(ctx context.Context, users int, batch bool, out io.Writer) error {
	dir, err := os.MkdirTemp("", "users")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	driver, dsn, insert := "sqlite3", filepath.Join(dir, "users.db")+"?_journal=WAL&_synchronous=FULL", insertOneByOne
	if batch {
		driver, dsn, insert = "sqlite3-groupcommit", dsn+"&groupcommit_promises=on", insertInBatches // the ids need it
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "CREATE TABLE users (id INTEGER PRIMARY KEY, value INTEGER)"); err != nil {
		return err
	}

	start := time.Now()
	commits, err := insert(ctx, db, users, out)
	if err != nil {
		return err
	}
	took := time.Since(start)

	var rows int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM users").Scan(&rows); err != nil {
		return err
	}
	fmt.Fprintf(out, "Inserting %d users took %.6f seconds with batching=%t, in %d commits; the table has %d rows.\n",
		users, took.Seconds(), batch, commits, rows)
	return nil
}

const mostUsers = 100_000

// start calls run with the flags of a command line.
func start(args []string, out io.Writer) error {
	users, batch := 10_000, true
	flags := flag.NewFlagSet("users", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // an error is printed once, by main
	set := func(meaning bool) func(string) error {
		return func(s string) error {
			given, err := strconv.ParseBool(s)
			if err != nil {
				return errors.New("true or false is allowed")
			}
			batch = given == meaning
			return nil
		}
	}
	flags.BoolFunc("batch", "insert the users in batches (the default)", set(true))
	flags.BoolFunc("no-batch", "insert them one after the other, through the plain driver", set(false))
	flags.Func("users", "insert `N` users, 0 to 100000 (default 10000)", func(s string) (err error) {
		if users, err = strconv.Atoi(s); err != nil || users < 0 || users > mostUsers {
			return fmt.Errorf("a whole number from 0 to %d is allowed", mostUsers)
		}
		return nil
	})
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(out)
		flags.PrintDefaults()
		return nil
	case err != nil:
		return err
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q; only the flags --batch, --no-batch and --users are allowed", flags.Arg(0))
	}
	return run(context.Background(), users, batch, out)
}

func main() {
	if err := start(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "users:", err)
		os.Exit(1)
	}
}
