// Command users is the article's program in our terms: 10,000 users, each inserted by a call of its own, each call a
// promise, and all promises awaited. The batching is nowhere to be seen; the program only says how many calls one
// commit may hold.
//
//	go run ./examples/users
package main

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/groupcommit/groupcommit"
	_ "github.com/groupcommit/groupcommit/sqlite3"
)

const users = 10_000

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	dir, err := os.MkdirTemp("", "users")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	dsn := filepath.Join(dir, "users.db") + "?_journal=WAL&_synchronous=FULL&groupcommit_maxlen=1000"
	db, err := sql.Open("sqlite3-groupcommit", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	ctx := context.Background()
	if _, err := db.ExecContext(ctx, "CREATE TABLE users (id INTEGER PRIMARY KEY, value INTEGER)"); err != nil {
		return err
	}

	start := time.Now()
	promises := make([]*groupcommit.Promise, users)
	for v := range promises {
		promises[v] = groupcommit.Go(ctx, db, "INSERT INTO users (value) VALUES (?)", v)
	}
	for v, p := range promises {
		if _, err := p.Await(ctx); err != nil {
			return fmt.Errorf("user %d: %w", v, err)
		}
	}
	took := time.Since(start)

	var rows int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM users").Scan(&rows); err != nil {
		return err
	}
	stats, err := groupcommit.StatsOf(db)
	if err != nil {
		return err
	}
	fmt.Printf("Inserting %d users took %.6f seconds in %d commits; the table has %d rows.\n",
		users, took.Seconds(), stats.Groups, rows)
	return nil
}
