package record_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/record"
	"github.com/stretchr/testify/require"
)

// A handler may take longer than its lease. On PostgreSQL the row's lock then keeps the command from others, which do not wait
// for it; in SQLite no other transaction writes meanwhile.
func TestACommandThatIsHeldIsLeftAloneAndNotWaitedFor(t *testing.T) {
	onDatabases(t, func(t *testing.T, db *sql.DB, table *record.Table) {
		if !isPostgres(table) {
			t.Skip("no other transaction writes")
		}
		pending(t, db, table, "me", record.Row{ID: "held", Created: noon, Timeout: noon.Add(time.Hour)}, record.Row{ID: "other", Created: noon})
		tx, err := db.Begin()
		require.NoError(t, err)
		defer tx.Rollback()
		held, err := table.Hold(background, tx, []string{"held", "other"}, "me", noon)
		require.NoError(t, err)
		require.Equal(t, map[string]durable.Key{"held": "", "other": ""}, held)

		ctx, cancel := context.WithTimeout(background, 20*time.Second)
		defer cancel()
		far := time.Now().Add(1000 * time.Hour)
		taken, err := table.Take(ctx, db, "another", far, far, 10)
		require.NoError(t, err)
		require.Empty(t, taken)
		require.NoError(t, table.Expire(ctx, db, far))
		require.NoError(t, table.Renew(ctx, db, []string{"held", "other"}, "me", far))
		require.NoError(t, tx.Rollback())

		require.NoError(t, table.Expire(ctx, db, far))
		taken, err = table.Take(ctx, db, "another", far, far, 10)
		require.NoError(t, err)
		require.Len(t, taken, 1, "one whose time is over is not to be had")
		require.Equal(t, "other", taken[0].ID)
	})
}

func TestWhatIsSettledIsNotHeldWhateverIsSaidOfItsLease(t *testing.T) {
	onDatabases(t, func(t *testing.T, db *sql.DB, table *record.Table) {
		pending(t, db, table, "me", record.Row{ID: "done", Created: noon})
		_, err := db.Exec("UPDATE groupcommit_promises SET state = 1, completed_at = 1 WHERE id = 'done'") // by a program of its own
		require.NoError(t, err)
		within(t, db, func(tx *sql.Tx) {
			held, err := table.Hold(background, tx, []string{"done"}, "me", noon)
			require.NoError(t, err)
			require.Empty(t, held)
		})
	})
}

func TestAnIDThatCannotBeClaimedAndIsNotThereIsAnError(t *testing.T) {
	onDatabases(t, func(t *testing.T, db *sql.DB, table *record.Table) {
		if !isPostgres(table) {
			t.Skip("an id that is not there is claimed")
		}
		for _, text := range []string{
			"CREATE FUNCTION ignore() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
			"CREATE TRIGGER deaf BEFORE INSERT ON groupcommit_promises FOR EACH ROW EXECUTE FUNCTION ignore()",
		} {
			_, err := db.Exec(text)
			require.NoError(t, err)
		}
		within(t, db, func(tx *sql.Tx) {
			_, err := table.Claim(background, tx, []record.Row{{ID: "x", Key: "k", State: durable.Resolved}})
			require.ErrorContains(t, err, "neither takes nor shows 1 of the ids")
		})
	})
}
