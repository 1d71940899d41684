package durable_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/require"
)

// completed makes n promises, of which the ith is completed i minutes after noon.
func completed(t *testing.T, db *sql.DB, n int) (durable.Store, *clock) {
	t.Helper()
	s, err := durable.NewSQL(background, db)
	require.NoError(t, err)
	s, clock := atNoon(s)
	for i := range n {
		id := fmt.Sprintf("%02d", (i*7)%n) // the order of ids is another
		clock.Time = noon.Add(time.Duration(i) * time.Minute)
		place(t, s, id)
		_, err := s.Resolve(background, durable.CompleteRequest{ID: id})
		require.NoError(t, err)
	}
	return s, clock
}

func TestTheOldestCompletedPromisesAreDeleted(t *testing.T) {
	onDatabases(t, func(t *testing.T, connect func() *sql.DB) {
		db := connect()
		s, clock := completed(t, db, 10) // 00 07 04 01 08 05 02 09 06 03
		clock.Time = noon.Add(-time.Hour)
		_, err := s.Create(background, durable.CreateRequest{ID: "waiting", Timeout: noon})
		require.NoError(t, err)
		left := func() []string { clock.Time = noon.Add(-time.Hour); return search(t, s, durable.Query{}) }

		n, err := durable.DeleteCompleted(background, db, noon.Add(time.Hour), 3)
		require.NoError(t, err)
		require.EqualValues(t, 3, n)
		require.Equal(t, []string{"01", "02", "03", "05", "06", "08", "09", "waiting"}, left())

		n, err = durable.DeleteCompleted(background, db, noon.Add(6*time.Minute), 100)
		require.NoError(t, err)
		require.EqualValues(t, 3, n)
		require.Equal(t, []string{"02", "03", "06", "09", "waiting"}, left(), "what was completed at the time stays")

		n, err = durable.DeleteCompleted(background, db, noon.AddDate(100, 0, 0), 100)
		require.NoError(t, err)
		require.EqualValues(t, 4, n)
		require.Equal(t, []string{"waiting"}, left(), "timed out, but nobody has seen it")

		clock.Time = noon.Add(time.Second)
		_, err = s.Get(background, "waiting")
		require.NoError(t, err)
		n, err = durable.DeleteCompleted(background, db, noon.AddDate(100, 0, 0), 100)
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
		place(t, s, "waiting") // a deleted id is free
		works(t, connect())    // and the version is there
	})
}

func TestDeletingAtOnceDeletesEachPromiseOnce(t *testing.T) {
	onDatabases(t, func(t *testing.T, connect func() *sql.DB) {
		db := connect()
		s, _ := completed(t, db, 40)
		var deleted [4]int64
		var done sync.WaitGroup
		for i := range deleted {
			db := connect()
			done.Go(func() {
				for n := int64(1); n > 0; deleted[i] += n {
					var err error
					if n, err = durable.DeleteCompleted(background, db, noon.AddDate(1, 0, 0), 3); err != nil || n > 3 {
						t.Errorf("%d promises were deleted: %v", n, err)
						return
					}
				}
			})
		}
		bounded.Wait(t, "the calls are answered", done.Wait)
		var sum int64
		for _, n := range deleted {
			sum += n
		}
		require.EqualValues(t, 40, sum)
		require.Empty(t, search(t, s, durable.Query{}))
	})
}

func TestDeletingDoesNotWaitForWhoDeletesToo(t *testing.T) {
	db := connect(t, "pgx", pgtest.DSN(t))
	completed(t, db, 5)
	tx, err := db.Begin()
	require.NoError(t, err)
	defer tx.Rollback()
	n, err := durable.DeleteCompleted(background, tx, noon.AddDate(1, 0, 0), 2)
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
	ctx, cancel := context.WithTimeout(background, 10*time.Second) // it would wait for ever
	defer cancel()
	n, err = durable.DeleteCompleted(ctx, db, noon.AddDate(1, 0, 0), 10)
	require.NoError(t, err)
	require.EqualValues(t, 3, n)
	require.NoError(t, tx.Commit())
}

func TestPromisesAreDeletedByTheirAge(t *testing.T) {
	onDatabases(t, func(t *testing.T, connect func() *sql.DB) {
		db := connect()
		s, err := durable.NewSQL(background, db)
		require.NoError(t, err)
		s, clock := atNoon(s)
		for id, age := range map[string]time.Duration{"a": 5, "b": 4, "c": 3, "d": 3, "young": 1} {
			clock.Time = time.Now().Add(-age * time.Hour)
			place(t, s, id)
			_, err := s.Resolve(background, durable.CompleteRequest{ID: id})
			require.NoError(t, err)
		}
		for _, step := range []struct {
			age     time.Duration
			deleted int64
		}{{2 * time.Hour, 3}, {2 * time.Hour, 1}, {2 * time.Hour, 0}, {50 * time.Minute, 1}} {
			n, err := durable.DeleteOlder(background, db, step.age, 3)
			require.NoError(t, err)
			require.Equal(t, step.deleted, n)
		}
		works(t, connect()) // the version is there
	})
}

func TestALimitOfNoneIsRefused(t *testing.T) {
	const want = "durable: the limit of promises to delete is 0; it must be 1 or more"
	_, err := durable.DeleteCompleted(background, nil, noon, 0)
	require.EqualError(t, err, want)
	_, err = durable.DeleteOlder(background, nil, time.Hour, 0)
	require.EqualError(t, err, want)
}
