package record_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/record"
	"github.com/stretchr/testify/require"
)

// What cannot be deleted is left, and does not keep the sweep from the rest.
func TestASweepGoesOnPastWhatStays(t *testing.T) {
	onSweeps(t, func(t *testing.T, connect func() *sql.DB, s *record.Sweep) {
		db := connect()
		fill(t, db, "stays", 2500, time.Hour, 2*time.Hour)
		fill(t, db, "old", 10, time.Hour, 2*time.Hour)
		if onSQLite(s) {
			run(t, db, "CREATE TRIGGER keeps BEFORE DELETE ON groupcommit_promises WHEN OLD.id LIKE 'stays %' BEGIN SELECT RAISE(IGNORE); END")
		} else { // another transaction has locked it
			tx, err := connect().Begin()
			require.NoError(t, err)
			defer tx.Rollback()
			_, err = tx.Exec("SELECT FROM groupcommit_promises WHERE id LIKE 'stays %' FOR UPDATE")
			require.NoError(t, err)
		}
		bounded.Wait(t, "the round is over", func() { round(t, db, s) })
		require.Equal(t, map[string]int{"": 1, "stays": 2500}, left(t, db))
	})
}

func TestASweepGoesOnPastWhatCannotBeDeleted(t *testing.T) {
	onSweeps(t, func(t *testing.T, connect func() *sql.DB, s *record.Sweep) {
		db := connect()
		fill(t, db, "used", 1, time.Hour, 2*time.Hour)
		fill(t, db, "young", 2500, 0, 0) // old ones are in other pieces
		fill(t, db, "old", 10, time.Hour, 2*time.Hour)
		if onSQLite(s) {
			run(t, db, "CREATE TRIGGER keeps BEFORE DELETE ON groupcommit_promises WHEN OLD.id LIKE 'used %' BEGIN SELECT RAISE(ABORT, 'in use'); END")
		} else {
			run(t, db, "CREATE TABLE uses (id TEXT REFERENCES groupcommit_promises)")
			run(t, db, "INSERT INTO uses SELECT id FROM groupcommit_promises WHERE id LIKE 'used %'")
		}
		failed := 0
		for i := 0; i < 3 || !s.AtStart(); i++ {
			require.Less(t, i, 20, "it stays at a piece")
			if _, err := s.Step(background, db); err != nil {
				failed++
			}
			if i < 2 {
				require.True(t, s.AtStart(), "an error may pass: it is tried again")
			}
		}
		require.Equal(t, 3, failed)
		require.Equal(t, map[string]int{"": 1, "used": 1, "young": 2500}, left(t, db))
	})
}
