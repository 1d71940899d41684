package libraries_test

import (
	"context"
	"fmt"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
)

type SendMail struct {
	To string `json:"to"`
}

func (SendMail) Kind() string { return "send_mail" }

// River takes a *sql.DB by riversqlite, and on PostgreSQL by riverdatabasesql.
func Example_river() {
	ctx := context.Background()
	db, done := open()
	defer done()
	driver := riversqlite.New(db)
	migrator, err := rivermigrate.New(driver, nil)
	must(err)
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	must(err)
	client, err := river.NewClient(driver, &river.Config{}) // one that inserts jobs, and works on none
	must(err)
	each(func(i int) error {
		_, err := client.Insert(ctx, SendMail{To: fmt.Sprintf("user%d@example.org", i)}, nil)
		return err
	})

	var n int
	must(db.QueryRow("SELECT count(*) FROM river_job").Scan(&n))
	fmt.Println(n, "jobs")
	// Output: 32 jobs
}
