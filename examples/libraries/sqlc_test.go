package libraries_test

import (
	"context"
	"database/sql"
	"fmt"
)

// Queries is what sqlc generates for two queries, as short as it can be.
type Queries struct{ db *sql.DB }

func (q *Queries) CreateUser(ctx context.Context, name string) (id int64, err error) {
	err = q.db.QueryRowContext(ctx, "INSERT INTO users (name) VALUES (?) RETURNING id", name).Scan(&id)
	return id, err
}

func (q *Queries) CountUsers(ctx context.Context) (n int64, err error) {
	err = q.db.QueryRowContext(ctx, "SELECT count(*) FROM users").Scan(&n)
	return n, err
}

func Example_sqlc() {
	ctx := context.Background()
	db, done := open()
	defer done()
	_, err := db.Exec("CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL)")
	must(err)
	queries := &Queries{db}
	each(func(i int) error {
		_, err := queries.CreateUser(ctx, fmt.Sprint("user ", i))
		return err
	})

	n, err := queries.CountUsers(ctx)
	must(err)
	fmt.Println(n, "users")
	// Output: 32 users
}
