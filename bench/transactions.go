package main

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/groupcommit/groupcommit/internal/programs"
)

// writeCases are what a program writes that does not write by single Execs alone, and that, from one goroutine to hundreds.
var writeCases = func() (all []library) {
	add := func(name string, each int, call func(e programs.Engine, db *sql.DB, n int) error, callers ...int) {
		for _, n := range callers {
			all = append(all, library{name: fmt.Sprintf("%s, %d", name, n), table: "things", callers: n, each: each, before: thingsBefore, open: writesThings(call)})
		}
	}
	add("BEGIN, 2 INSERT, COMMIT", 2, twoInserts, 1, 8, 64, 256)
	add("BEGIN, SELECT, UPDATE, COMMIT", -1, selectAndUpdate, 1, 8, 64)
	add("INSERT RETURNING by QueryRow", 1, insertReturning, 1, 8, 32, 64, 256)
	add("one Exec of BEGIN; 2 INSERT; COMMIT", 2, severalStatements, 1, 8, 64)
	add("INSERT by Exec", 1, oneInsert, 8, 64, 1024)
	all = append(all, library{name: "half INSERT by Exec, half BEGIN, INSERT, COMMIT, 64", table: "things", callers: 64, before: thingsBefore,
		open: writesThings(func(e programs.Engine, db *sql.DB, n int) error {
			if n%2 == 0 {
				return oneInsert(e, db, n)
			}
			return inTx(db, func(tx *sql.Tx) error { return insertThing(e, tx, n) })
		})})
	return all
}()

const thingsBefore = 1000

// writesThings makes a table with some rows in it.
func writesThings(call func(e programs.Engine, db *sql.DB, n int) error) func(context.Context, programs.Engine, *sql.DB) (func(int) error, error) {
	return func(ctx context.Context, e programs.Engine, db *sql.DB) (func(int) error, error) {
		key := "id INTEGER PRIMARY KEY"
		if e == programs.Postgres {
			key = "id SERIAL PRIMARY KEY"
		}
		if _, err := db.ExecContext(ctx, "CREATE TABLE things ("+key+", n INTEGER NOT NULL)"); err != nil {
			return nil, err
		}
		for range thingsBefore / 100 {
			if _, err := db.ExecContext(ctx, "INSERT INTO things (n) VALUES (0)"+strings.Repeat(", (0)", 99)); err != nil {
				return nil, err
			}
		}
		return func(n int) error { return call(e, db, n) }, nil
	}
}

func insertText(e programs.Engine) string {
	if e == programs.Postgres {
		return "INSERT INTO things (n) VALUES ($1)"
	}
	return "INSERT INTO things (n) VALUES (?)"
}

type execer interface {
	Exec(query string, args ...any) (sql.Result, error)
}

func insertThing(e programs.Engine, to execer, n int) error {
	_, err := to.Exec(insertText(e), n)
	return err
}

func oneInsert(e programs.Engine, db *sql.DB, n int) error { return insertThing(e, db, n) }

func inTx(db *sql.DB, do func(*sql.Tx) error) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func twoInserts(e programs.Engine, db *sql.DB, n int) error {
	return inTx(db, func(tx *sql.Tx) error {
		if err := insertThing(e, tx, n); err != nil {
			return err
		}
		return insertThing(e, tx, -n)
	})
}

func selectAndUpdate(e programs.Engine, db *sql.DB, n int) error {
	sel, upd := "SELECT n FROM things WHERE id = ?", "UPDATE things SET n = n + 1 WHERE id = ?"
	if e == programs.Postgres {
		sel, upd = strings.ReplaceAll(sel, "?", "$1"), strings.ReplaceAll(upd, "?", "$1")
	}
	id := n%thingsBefore + 1
	return inTx(db, func(tx *sql.Tx) error {
		var was int
		if err := tx.QueryRow(sel, id).Scan(&was); err != nil {
			return err
		}
		_, err := tx.Exec(upd, id)
		return err
	})
}

func insertReturning(e programs.Engine, db *sql.DB, n int) error {
	var id int
	return db.QueryRow(insertText(e)+" RETURNING id", n).Scan(&id)
}

func severalStatements(_ programs.Engine, db *sql.DB, n int) error {
	_, err := db.Exec(fmt.Sprintf("BEGIN; INSERT INTO things (n) VALUES (%d); INSERT INTO things (n) VALUES (%d); COMMIT", n, -n))
	return err
}
