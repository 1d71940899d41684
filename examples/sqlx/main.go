// Command sqlx inserts structs with the NamedExec of jmoiron/sqlx, from independent goroutines. It is the same program on
// both adapters, because importing sqlxbind tells sqlx their placeholders:
//
//	go run ./examples/sqlx
//	go run ./examples/sqlx -driver pgx-groupcommit -dsn postgres://localhost/app
//
// Without -dsn the database is an SQLite file in a temporary folder. The table is dropped at the end.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/pgx"
	"github.com/groupcommit/groupcommit/sqlite3"
	_ "github.com/groupcommit/groupcommit/sqlxbind"
	"github.com/jmoiron/sqlx"
	"golang.org/x/sync/errgroup"
)

const (
	people     = 2000
	goroutines = 50
)

type person struct {
	ID   int64  `db:"id"`
	Name string `db:"name"`
}

func main() {
	driver := flag.String("driver", sqlite3.DriverName, sqlite3.DriverName+" or "+pgx.DriverName)
	dsn := flag.String("dsn", "", "the database; a temporary file without")
	flag.Parse()
	if err := run(context.Background(), *driver, *dsn); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, driver, dsn string) (err error) {
	switch {
	case driver != sqlite3.DriverName && driver != pgx.DriverName:
		return fmt.Errorf("-driver %q is not allowed; %s or %s is", driver, sqlite3.DriverName, pgx.DriverName)
	case driver == pgx.DriverName && dsn == "":
		return fmt.Errorf("-driver %s needs a -dsn, such as postgres://localhost/app", driver)
	case dsn == "":
		dir, err := os.MkdirTemp("", "sqlx")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		dsn = filepath.Join(dir, "people.db") + "?_journal=WAL&_synchronous=FULL"
	}
	db, err := sqlx.ConnectContext(ctx, driver, dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "CREATE TABLE groupcommit_people (id BIGINT PRIMARY KEY, name TEXT NOT NULL)"); err != nil {
		return err
	}
	defer func() {
		_, dropped := db.ExecContext(ctx, "DROP TABLE groupcommit_people")
		err = errors.Join(err, dropped)
	}()
	return fill(ctx, db)
}

func fill(ctx context.Context, db *sqlx.DB) error {
	start := time.Now()
	all, inserting := errgroup.WithContext(ctx)
	all.SetLimit(goroutines)
	for id := range int64(people) {
		all.Go(func() error {
			p := person{id, fmt.Sprintf("person %d", id)}
			_, err := db.NamedExecContext(inserting, "INSERT INTO groupcommit_people (id, name) VALUES (:id, :name)", p)
			return err
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	took := time.Since(start)

	var last []person
	if err := db.SelectContext(ctx, &last, "SELECT id, name FROM groupcommit_people ORDER BY id DESC LIMIT 1"); err != nil {
		return err
	}
	var rows int
	if err := db.GetContext(ctx, &rows, "SELECT count(*) FROM groupcommit_people"); err != nil {
		return err
	}
	stats, err := groupcommit.StatsOf(db.DB)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d rows in %.3f seconds and %d commits; the last is %+v\n",
		db.DriverName(), rows, took.Seconds(), stats.Groups, last)
	return nil
}
