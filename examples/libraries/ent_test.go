package libraries_test

import (
	"context"
	"fmt"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
)

// A program with a generated client goes on with ent.NewClient(ent.Driver(drv)). Here the driver is used as such a client uses
// it.
func Example_ent() {
	ctx := context.Background()
	db, done := open()
	defer done()
	drv := entsql.OpenDB(dialect.SQLite, db)

	must(drv.Exec(ctx, "CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL)", []any{}, nil))
	each(func(i int) error {
		query, args := entsql.Dialect(drv.Dialect()).Insert("users").Columns("name").Values(fmt.Sprint("user ", i)).Returning("id").Query()
		var rows entsql.Rows
		if err := drv.Query(ctx, query, args, &rows); err != nil {
			return err
		}
		defer rows.Close()
		_, err := entsql.ScanInt64(&rows)
		return err
	})

	var rows entsql.Rows
	must(drv.Query(ctx, "SELECT count(*) FROM users", []any{}, &rows))
	defer rows.Close()
	n, err := entsql.ScanInt(&rows)
	must(err)
	fmt.Println(n, "users")
	// Output: 32 users
}
