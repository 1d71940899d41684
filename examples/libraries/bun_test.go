package libraries_test

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
)

func Example_bun() {
	ctx := context.Background()
	inner, done := open()
	defer done()
	db := bun.NewDB(inner, sqlitedialect.New())

	type User struct {
		ID   int64 `bun:",pk,autoincrement"`
		Name string
	}
	_, err := db.NewCreateTable().Model((*User)(nil)).Exec(ctx)
	must(err)
	each(func(i int) error {
		_, err := db.NewInsert().Model(&User{Name: fmt.Sprint("user ", i)}).Exec(ctx)
		return err
	})

	n, err := db.NewSelect().Model((*User)(nil)).Count(ctx)
	must(err)
	fmt.Println(n, "users")
	// Output: 32 users
}
