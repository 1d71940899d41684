package groupcommit_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"sync"

	"github.com/mattn/go-sqlite3"

	"github.com/groupcommit/groupcommit"
	_ "github.com/groupcommit/groupcommit/sqlite3"
)

// open opens a database in memory, with a table of users.
func open(dsn string) *sql.DB {
	db, err := sql.Open("sqlite3-groupcommit", dsn)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := db.Exec("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT UNIQUE)"); err != nil {
		log.Fatal(err)
	}
	return db
}

func Example() {
	db := open(":memory:")
	defer db.Close()

	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			if _, err := db.Exec("INSERT INTO users (name) VALUES (?)", fmt.Sprint("user ", i)); err != nil {
				log.Print(err)
			}
		})
	}
	all.Wait()

	var n int
	if err := db.QueryRow("SELECT count(*) FROM users").Scan(&n); err != nil {
		log.Fatal(err)
	}
	fmt.Println(n, "users")
	// Output: 100 users
}

func ExampleRegister() {
	hook := func(c *sqlite3.SQLiteConn) error {
		return c.RegisterFunc("hello", func(name string) string { return "hello, " + name }, true)
	}
	groupcommit.Register("sqlite3-hello", &sqlite3.SQLiteDriver{ConnectHook: hook}, groupcommit.MaxLen(500))

	db, err := sql.Open("sqlite3-hello", ":memory:")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	var words string
	if err := db.QueryRow("SELECT hello('world')").Scan(&words); err != nil {
		log.Fatal(err)
	}
	fmt.Println(words)
	// Output: hello, world
}

func ExampleGo() {
	ctx := context.Background()
	db := open(":memory:")
	defer db.Close()

	promises := make([]*groupcommit.Promise, 1000)
	for i := range promises { // none of these waits for a commit
		promises[i] = groupcommit.Go(ctx, db, "INSERT INTO users (name) VALUES (?)", fmt.Sprint("user ", i))
	}
	for _, p := range promises {
		if _, err := p.Await(ctx); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(promises[999].State())
	// Output: RESOLVED
}

func ExampleWithID() {
	db := open(":memory:?groupcommit_promises=on")
	defer db.Close()

	ctx := groupcommit.WithID(context.Background(), "signup-4711")
	for range 2 { // the second time as after a lost answer, or after a crash
		res, err := db.ExecContext(ctx, "INSERT INTO users (name) VALUES (?)", "ann")
		if err != nil {
			log.Fatal(err)
		}
		id, _ := res.LastInsertId()
		fmt.Println("user", id, "deduplicated:", groupcommit.Deduplicated(res))
	}

	_, err := db.ExecContext(ctx, "INSERT INTO users (name) VALUES (?)", "bob")
	fmt.Println(errors.Is(err, groupcommit.ErrMismatch))
	// Output:
	// user 1 deduplicated: false
	// user 1 deduplicated: true
	// true
}

func ExampleLookup() {
	ctx := context.Background()
	db := open(":memory:?groupcommit_promises=on")
	defer db.Close()

	if _, err := db.ExecContext(groupcommit.WithID(ctx, "signup-4711"), "INSERT INTO users (name) VALUES ('ann')"); err != nil {
		log.Fatal(err)
	}
	p, err := groupcommit.Lookup(ctx, db, "signup-4711")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(p.State, string(p.Value.Data))
	// Output: RESOLVED {"rows":1,"id":1}
}

// InsertUser is a command: what a handler is to do.
type InsertUser struct{ Name string }

func ExampleHandle() {
	ctx := context.Background()
	db := open(":memory:")
	defer db.Close()

	users, err := groupcommit.Handle(db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[InsertUser, int64]) error {
		for _, c := range batch { // all in one transaction, with one commit
			res, err := tx.ExecContext(ctx, "INSERT INTO users (name) VALUES (?)", c.Value.Name)
			if err != nil {
				return err
			}
			id, _ := res.LastInsertId()
			c.Resolve(id)
		}
		return nil
	}, groupcommit.MaxLen(1000))
	if err != nil {
		log.Fatal(err)
	}

	id, err := users.Do(ctx, "", InsertUser{"ann"})
	fmt.Println(id, err)
	// Output: 1 <nil>
}

func ExampleEach() {
	ctx := context.Background()
	db := open(":memory:")
	defer db.Close()

	users, err := groupcommit.Handle(db, groupcommit.Each(func(ctx context.Context, tx *sql.Tx, u InsertUser) (int64, error) {
		res, err := tx.ExecContext(ctx, "INSERT INTO users (name) VALUES (?)", u.Name)
		if err != nil {
			return 0, err
		}
		return res.LastInsertId()
	}))
	if err != nil {
		log.Fatal(err)
	}

	ann, bob := users.Go(ctx, "", InsertUser{"ann"}), users.Go(ctx, "", InsertUser{"bob"})
	again := users.Go(ctx, "", InsertUser{"ann"}) // the name is taken: its neighbours are not concerned
	for _, p := range []*groupcommit.PromiseOf[int64]{ann, bob, again} {
		id, err := p.Await(ctx)
		fmt.Println(id, err)
	}
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 0 UNIQUE constraint failed: users.name
}

func ExampleCommands_Add() {
	ctx := context.Background()
	db := open(":memory:?groupcommit_promises=on")
	defer db.Close()

	type Greet struct{ Name string }
	greeted := make(chan string)
	greetings, err := groupcommit.Handle(db, groupcommit.Each(func(_ context.Context, _ *sql.Tx, g Greet) (int, error) {
		greeted <- g.Name
		return 0, nil
	}), groupcommit.Durable(), groupcommit.Kind("greet"))
	if err != nil {
		log.Fatal(err)
	}

	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "INSERT INTO users (name) VALUES ('ann')"); err != nil {
		log.Fatal(err)
	}
	if err := greetings.Add(ctx, tx, "greet-ann", Greet{"ann"}); err != nil { // the user and the greeting, or neither
		log.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("hello,", <-greeted)
	// Output: hello, ann
}

func ExampleStatsOf() {
	db := open(":memory:")
	defer db.Close()

	for range 3 { // one after the other: each is a group of one
		if _, err := db.Exec("INSERT INTO users (name) VALUES (NULL)"); err != nil {
			log.Fatal(err)
		}
	}
	s, err := groupcommit.StatsOf(db)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(s.Calls, "calls in", s.Groups, "groups, mean", s.MeanGroup())
	// Output: 3 calls in 3 groups, mean 1
}

func ExampleOnGroup() {
	groupcommit.Register("sqlite3-watched", &sqlite3.SQLiteDriver{}, groupcommit.OnGroup(func(g groupcommit.GroupInfo) {
		fmt.Println(len(g.Calls), "call:", g.Calls[0].Query)
	}))
	db, err := sql.Open("sqlite3-watched", ":memory:")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE users (name TEXT)"); err != nil { // no group: it changes the schema
		log.Fatal(err)
	}
	if _, err := db.Exec("INSERT INTO users VALUES ('ann')"); err != nil {
		log.Fatal(err)
	}
	// Output: 1 call: INSERT INTO users VALUES ('ann')
}
