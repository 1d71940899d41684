package programs

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"maragu.dev/goqite"
)

// NewGoqite makes goqite's table, by the schema of its manual, and a queue in it.
func NewGoqite(ctx context.Context, e Engine, db *sql.DB) (*goqite.Queue, error) {
	flavor := goqite.SQLFlavorSQLite
	if e == Postgres {
		flavor = goqite.SQLFlavorPostgreSQL
	}
	for _, text := range goqiteSchema[e] {
		if _, err := db.ExecContext(ctx, text); err != nil {
			return nil, fmt.Errorf("%w: %s", err, text)
		}
	}
	// Nothing comes a second time while a program works on it.
	return goqite.New(goqite.NewOpts{DB: db, Name: "jobs", SQLFlavor: flavor, Timeout: time.Hour}), nil
}

var goqiteSchema = map[Engine][]string{
	SQLite: {`create table goqite (
			id text primary key default ('m_' || lower(hex(randomblob(16)))),
			created text not null default (strftime('%Y-%m-%dT%H:%M:%fZ')),
			updated text not null default (strftime('%Y-%m-%dT%H:%M:%fZ')),
			queue text not null,
			body blob not null,
			timeout text not null default (strftime('%Y-%m-%dT%H:%M:%fZ')),
			received integer not null default 0,
			priority integer not null default 0
		) strict`,
		`create trigger goqite_updated_timestamp after update on goqite begin
			update goqite set updated = strftime('%Y-%m-%dT%H:%M:%fZ') where id = old.id;
		end`,
		`create index goqite_queue_priority_created_idx on goqite (queue, priority desc, created)`},
	Postgres: {`create extension if not exists pgcrypto`,
		`create function update_timestamp() returns trigger as $$ begin new.updated = now(); return new; end; $$ language plpgsql`,
		`create table goqite (
			id text primary key default ('m_' || encode(gen_random_bytes(16), 'hex')),
			created timestamptz not null default now(),
			updated timestamptz not null default now(),
			queue text not null,
			body bytea not null,
			timeout timestamptz not null default now(),
			received integer not null default 0,
			priority integer not null default 0
		)`,
		`create trigger goqite_updated_timestamp before update on goqite for each row execute procedure update_timestamp()`,
		`create index goqite_queue_priority_created_idx on goqite (queue, priority desc, created)`},
}
