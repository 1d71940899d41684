package programs

import (
	"context"
	"database/sql"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
)

// A Job is what river's client inserts. Two of one number are one job.
type Job struct {
	N int `json:"n" river:"unique"`
}

func (Job) Kind() string { return "job" }

// Inserter is river's client as far as it inserts.
type Inserter = river.Client[*sql.Tx]

// NewRiver makes river's tables by its migrations, and a client that inserts jobs and works on none.
func NewRiver(ctx context.Context, e Engine, db *sql.DB) (*Inserter, error) {
	var d riverdriver.Driver[*sql.Tx] = riversqlite.New(db)
	if e == Postgres {
		d = riverdatabasesql.New(db)
	}
	m, err := rivermigrate.New(d, nil)
	if err != nil {
		return nil, err
	}
	if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	return river.NewClient(d, &river.Config{})
}
