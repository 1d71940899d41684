package main

import (
	"cmp"
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

	callers int // 0: libraryCallers
	each    int // rows of a call; 0: one, -1: none
	before  int // rows that open has made
}

func (l library) rows() int { return max(0, cmp.Or(l.each, 1)) }

var libraries = []library{
	{name: "sqlx NamedExec", table: "things", open: openSqlx},
	{name: "gorp Insert", table: "things", open: openGorp},
	{name: "bun Insert, own keys", table: "things", open: openBunOwn},
	{name: "scs Commit", table: "sessions", open: openSCS},
	{name: "bun Insert, keys of the database", table: "users", open: creates(func(e programs.Engine, db *sql.DB) (programs.Store, error) { return programs.NewBun(e, db), nil })},
	{name: "ent Create", table: "users", open: creates(func(e programs.Engine, db *sql.DB) (programs.Store, error) { return programs.NewEnt(e, db), nil })},
	{name: "sqlc :one, RETURNING", table: "users", open: creates(func(e programs.Engine, db *sql.DB) (programs.Store, error) { return programs.NewSQLC(e, db), nil })},
	{name: "GORM Create", table: "users", open: creates(func(e programs.Engine, db *sql.DB) (programs.Store, error) { return programs.NewGORM(e, db, false) })},
	{name: "GORM Create, SkipDefaultTransaction", table: "users", open: creates(func(e programs.Engine, db *sql.DB) (programs.Store, error) { return programs.NewGORM(e, db, true) })},
	{name: "goqite Send", table: "goqite", open: openGoqite},
	{name: "river Insert", table: "river_job", open: openRiver},
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
