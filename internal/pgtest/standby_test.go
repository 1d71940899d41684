package pgtest

import (
	"database/sql"
	"testing"

	"github.com/groupcommit/groupcommit/internal/bounded"
)

func TestAStandbyFollowsAndTakesOver(t *testing.T) {
	primary := New(t, Options{})
	standby := NewStandby(t, primary, Options{})
	must(t, primary.Synchronize(standby))
	db, replica := open(t, primary.DSN()), open(t, standby.DSN())
	if got := ask(t, replica, "SELECT pg_is_in_recovery()::text"); got != "true" {
		t.Fatalf("the standby is in recovery: %s", got)
	}
	do(t, db, "CREATE TABLE t (i int)")
	t.Run("without its synchronous standby a primary waits", func(t *testing.T) { waits(t, primary, standby, db) })

	do(t, db, "INSERT INTO t VALUES (42)") // acknowledged only when the standby has it
	must(t, primary.Kill())
	must(t, standby.Promote())
	if got := ask(t, replica, "SELECT string_agg(i::text, ' ' ORDER BY i) FROM t"); got != "1 2 42" {
		t.Errorf("the standby has %s", got)
	}
	do(t, replica, "INSERT INTO t VALUES (43)")
	t.Run("a killed server leaves nothing", func(t *testing.T) { closes(t, primary) })
	t.Run("a running server leaves nothing", func(t *testing.T) { closes(t, standby) })
}

// waits has a commit of the primary wait for its standby, and ends with a standby that is synchronous again.
func waits(t *testing.T, primary, standby *Server, db *sql.DB) {
	must(t, standby.Stop(Immediate))
	answered := make(chan error, 1)
	go func() {
		_, err := db.Exec("INSERT INTO t VALUES (1)")
		answered <- err
	}()
	other := open(t, primary.DSN())
	eventually(t, "the commit waits for the standby", func() bool {
		return ask(t, other, "SELECT count(*)::text FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == "1"
	})
	select {
	case err := <-answered:
		t.Fatalf("answered without the standby: %v", err)
	default:
	}
	must(t, standby.Start())
	must(t, bounded.Receive(t, "the commit is answered", answered))

	must(t, standby.Stop(Fast))
	must(t, primary.Synchronize())
	do(t, db, "INSERT INTO t VALUES (2)")
	must(t, standby.Start())
	must(t, primary.Synchronize(standby))
}
