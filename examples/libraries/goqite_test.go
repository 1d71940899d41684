package libraries_test

import (
	"context"
	"fmt"

	"maragu.dev/goqite"
)

// goqiteSchema is goqite's own, from its schema_sqlite.sql, as far as this example needs it.
const goqiteSchema = `create table goqite (
	id text primary key default ('m_' || lower(hex(randomblob(16)))),
	created text not null default (strftime('%Y-%m-%dT%H:%M:%fZ')),
	updated text not null default (strftime('%Y-%m-%dT%H:%M:%fZ')),
	queue text not null,
	body blob not null,
	timeout text not null default (strftime('%Y-%m-%dT%H:%M:%fZ')),
	received integer not null default 0,
	priority integer not null default 0
) strict`

func Example_goqite() {
	ctx := context.Background()
	db, done := open()
	defer done()
	_, err := db.Exec(goqiteSchema)
	must(err)
	q := goqite.New(goqite.NewOpts{DB: db, Name: "jobs"})
	each(func(i int) error { return q.Send(ctx, goqite.Message{Body: fmt.Append(nil, "message ", i)}) })

	m, err := q.Receive(ctx)
	must(err)
	must(q.Delete(ctx, m.ID))
	var left int
	must(db.QueryRow("SELECT count(*) FROM goqite").Scan(&left))
	fmt.Println(left, "messages left")
	// Output: 31 messages left
}
