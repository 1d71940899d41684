package programs

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// On PostgreSQL the client hears of new jobs by a pgxpool beside the database, as docs/with.md says.
func TestRiverWorksOnEachJobOnceWhileOthersAreInserted(t *testing.T) {
	onBoth(t, func(t *testing.T, e Engine) {
		_, s := sides(t, e)
		db := s.open(t)
		ctx := t.Context()
		_, err := NewRiver(ctx, e, db) // for the tables
		require.NoError(t, err)

		done := make(chan int, 2*goroutines)
		workers := river.NewWorkers()
		river.AddWorker(workers, river.WorkFunc(func(ctx context.Context, j *river.Job[Job]) error {
			done <- j.Args.N
			return nil
		}))
		config := &river.Config{Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 4}}}
		var client *Inserter
		if e == Postgres {
			pool, err := pgxpool.New(ctx, s.dsn)
			require.NoError(t, err)
			defer pool.Close()
			client, err = river.NewClient(riverdatabasesql.NewWithPgxListener(db, pool), config)
			require.NoError(t, err)
		} else {
			client, err = river.NewClient(riversqlite.New(db), config)
			require.NoError(t, err)
		}
		require.NoError(t, client.Start(ctx))

		var all sync.WaitGroup
		for n := range goroutines {
			all.Go(func() {
				_, err := client.Insert(ctx, Job{n}, nil)
				assert.NoError(t, err)
			})
		}
		all.Wait()
		worked := map[int]int{}
		for range goroutines {
			select {
			case n := <-done:
				worked[n]++
			case <-time.After(time.Minute):
				t.Fatalf("no job for a minute, after %v", worked)
			}
		}
		require.NoError(t, client.Stop(ctx)) // which records what has been worked on
		assert.Len(t, worked, goroutines)
		assert.Empty(t, done)
		var left int
		require.NoError(t, db.QueryRow("SELECT count(*) FROM river_job WHERE state <> 'completed'").Scan(&left))
		assert.Zero(t, left)
	})
}
