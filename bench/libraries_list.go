package main

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/alexedwards/scs/postgresstore"
	"github.com/alexedwards/scs/sqlite3store"
	"github.com/go-gorp/gorp/v3"
	"github.com/groupcommit/groupcommit/internal/programs"
	_ "github.com/groupcommit/groupcommit/sqlxbind"
	"github.com/jmoiron/sqlx"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"maragu.dev/goqite"
)

// A library writes one row by each call, by its own API.
type library struct {
	name  string
	table string
	// open makes the table in an empty database, and returns the call; n is another number each time.
	open func(ctx context.Context, e programs.Engine, db *sql.DB) (call func(n int) error, err error)
}

var libraries = []library{
	{"sqlx NamedExec", "things", openSqlx},
	{"gorp Insert", "things", openGorp},
	{"bun Insert, own keys", "things", openBunOwn},
	{"scs Commit", "sessions", openSCS},
	{"bun Insert, keys of the database", "users", creates(func(e programs.Engine, db *sql.DB) (programs.Store, error) { return programs.NewBun(e, db), nil })},
	{"ent Create", "users", creates(func(e programs.Engine, db *sql.DB) (programs.Store, error) { return programs.NewEnt(e, db), nil })},
	{"sqlc :one, RETURNING", "users", creates(func(e programs.Engine, db *sql.DB) (programs.Store, error) { return programs.NewSQLC(e, db), nil })},
	{"GORM Create", "users", creates(func(e programs.Engine, db *sql.DB) (programs.Store, error) { return programs.NewGORM(e, db, false) })},
	{"GORM Create, SkipDefaultTransaction", "users", creates(func(e programs.Engine, db *sql.DB) (programs.Store, error) { return programs.NewGORM(e, db, true) })},
	{"goqite Send", "goqite", openGoqite},
	{"river Insert", "river_job", openRiver},
}

// A thing has a key of the program's own.
type thing struct {
	ID   int64  `db:"id" bun:"id,pk"`
	Name string `db:"name"`
}

func newThing(n int) *thing { return &thing{int64(n) + 1, fmt.Sprint("thing ", n)} }

const thingTable = "CREATE TABLE things (id BIGINT PRIMARY KEY, name TEXT NOT NULL)"

func openSqlx(ctx context.Context, e programs.Engine, plain *sql.DB) (func(n int) error, error) {
	db := sqlx.NewDb(plain, string(e))
	_, err := db.ExecContext(ctx, thingTable)
	return func(n int) error {
		_, err := db.NamedExec("INSERT INTO things (id, name) VALUES (:id, :name)", newThing(n))
		return err
	}, err
}

func openGorp(ctx context.Context, e programs.Engine, db *sql.DB) (func(n int) error, error) {
	m := &gorp.DbMap{Db: db, Dialect: gorp.SqliteDialect{}}
	if e == programs.Postgres {
		m.Dialect = gorp.PostgresDialect{}
	}
	m.AddTableWithName(thing{}, "things").SetKeys(false, "ID")
	_, err := db.ExecContext(ctx, thingTable)
	return func(n int) error { return m.Insert(newThing(n)) }, err
}

func openBunOwn(ctx context.Context, e programs.Engine, plain *sql.DB) (func(n int) error, error) {
	db := bun.NewDB(plain, sqlitedialect.New())
	if e == programs.Postgres {
		db = bun.NewDB(plain, pgdialect.New())
	}
	_, err := plain.ExecContext(ctx, thingTable)
	return func(n int) error {
		_, err := db.NewInsert().Model(newThing(n)).Exec(context.Background())
		return err
	}, err
}

// openSCS keeps sessions, without the goroutine that removes old ones.
func openSCS(ctx context.Context, e programs.Engine, db *sql.DB) (func(n int) error, error) {
	var store interface {
		Commit(token string, b []byte, expiry time.Time) error
	} = sqlite3store.NewWithCleanupInterval(db, 0)
	shape := "(token TEXT PRIMARY KEY, data BLOB NOT NULL, expiry REAL NOT NULL)"
	if e == programs.Postgres {
		store = postgresstore.NewWithCleanupInterval(db, 0)
		shape = "(token TEXT PRIMARY KEY, data BYTEA NOT NULL, expiry TIMESTAMPTZ NOT NULL)"
	}
	_, err := db.ExecContext(ctx, "CREATE TABLE sessions "+shape)
	data := make([]byte, 100)
	return func(n int) error { return store.Commit(fmt.Sprint("token ", n), data, time.Now().Add(time.Hour)) }, err
}

// creates has a store of package programs insert users, whose keys the database makes.
func creates(open func(programs.Engine, *sql.DB) (programs.Store, error)) func(context.Context, programs.Engine, *sql.DB) (func(n int) error, error) {
	return func(ctx context.Context, e programs.Engine, db *sql.DB) (func(n int) error, error) {
		if _, err := db.ExecContext(ctx, e.Schema()); err != nil {
			return nil, err
		}
		store, err := open(e, db)
		return func(n int) error {
			return store.Create(context.Background(), &programs.User{Owner: 1, Name: fmt.Sprint("user ", n), Born: time.Now()})
		}, err
	}
}

func openGoqite(ctx context.Context, e programs.Engine, db *sql.DB) (func(n int) error, error) {
	q, err := programs.NewGoqite(ctx, e, db)
	return func(n int) error {
		return q.Send(context.Background(), goqite.Message{Body: fmt.Appendf(nil, "message %d", n)})
	}, err
}

func openRiver(ctx context.Context, e programs.Engine, db *sql.DB) (func(n int) error, error) {
	client, err := programs.NewRiver(ctx, e, db)
	return func(n int) error {
		_, err := client.Insert(context.Background(), programs.Job{N: n}, nil)
		return err
	}, err
}
