package sqlite3_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/groupcommit/groupcommit/internal/applog"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

func withoutJournal(t *testing.T) string {
	return strings.Replace(dsnOf(t, ""), "_journal=WAL", "_journal=OFF", 1)
}

// warnings catches what is logged.
func warnings(t *testing.T) *bytes.Buffer {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	return &log
}

func TestWhereNothingCanBeRolledBackNothingIsGrouped(t *testing.T) {
	log := warnings(t)
	driverName, n := counting()
	db := openDB(t, driverName, withoutJournal(t)+"&_cache_size=5", "CREATE TABLE a (k INTEGER, v)", "CREATE INDEX i ON a (k)",
		"CREATE TRIGGER g BEFORE INSERT ON a WHEN new.k < 0 BEGIN SELECT RAISE(ROLLBACK, 'no'); END")
	for range 2 {
		before := n.commits.Load()
		var cs []*call
		for k := range 30 {
			if k == 20 {
				k = -k
			}
			cs = append(cs, &call{query: insertRow, args: []any{k, make([]byte, 20_000)}})
		}
		asGroup(t, db, cs)
		require.Equal(t, int64(29), n.commits.Load()-before)
		for k, c := range cs {
			require.Equal(t, k == 20, c.err != nil, c.err)
		}
	}
	require.Equal(t, []string{"58 29 0 29"}, texts(db, "SELECT count(*) || ' ' || count(DISTINCT k) || ' ' || min(k) || ' ' || max(k) FROM a"))
	order := []string{}
	for k := range 30 {
		if k != 20 {
			order = append(order, fmt.Sprint(k))
		}
	}
	require.Equal(t, order, texts(db, "SELECT k FROM a ORDER BY rowid LIMIT 29"), "each in its turn")
	require.Equal(t, []string{"ok"}, texts(db, "PRAGMA integrity_check"))
	applog.Wait()
	require.Equal(t, 1, strings.Count(log.String(), "journal_mode=OFF"), "it is said once: %s", log)
}

func TestAnAttachedFileWithoutAJournalCounts(t *testing.T) {
	other := t.TempDir() + "/other"
	warnings(t)
	var n atomic.Int64
	_, driverName := hookedDrivers(func(c *mattn.SQLiteConn) error {
		c.RegisterCommitHook(func() int { n.Add(1); return 0 })
		_, err := c.Exec(fmt.Sprintf("ATTACH '%s' AS other; PRAGMA other.journal_mode = OFF", other), nil)
		return err
	})
	db := openDB(t, driverName, dsnOf(t, ""), "CREATE TABLE a (k INTEGER, v)")
	before := n.Load()
	asGroup(t, db, []*call{{query: insertRow, args: []any{1, "v"}}, {query: insertRow, args: []any{2, "v"}}})
	require.Equal(t, int64(2), n.Load()-before)
}

func TestNoIDIsTakenWhereNothingCanBeRolledBack(t *testing.T) {
	warnings(t)
	dsn := withoutJournal(t)
	db := ours(t, dsn, "CREATE TABLE a (k INTEGER, v)")
	require.NoError(t, db.Ping())
	require.ErrorContains(t, ours(t, dsn+"&groupcommit_promises=on").Ping(), "option promises: with journal_mode=OFF nothing can be rolled back")
}

func TestAnIDIsRefusedFromWhenTheJournalIsOff(t *testing.T) {
	db := ours(t, fmt.Sprintf("file:off%d?mode=memory&cache=shared&groupcommit_promises=on", driverNames.Add(1)), "CREATE TABLE a (k INTEGER UNIQUE, v)")
	_, err := db.ExecContext(withID("x"), insertRow, 1, "v")
	require.NoError(t, err)
	exec(t, db, "PRAGMA journal_mode = OFF")
	_, err = db.ExecContext(withID("y"), insertRow, 2, "v")
	require.ErrorContains(t, err, `id "y": with journal_mode=OFF nothing can be rolled back`)
	exec(t, db, insertRow, 2, "v")
	exec(t, db, "PRAGMA journal_mode = MEMORY")
	_, err = db.ExecContext(withID("y"), insertRow, 3, "v")
	require.NoError(t, err)
	require.Equal(t, 3, count(t, db, "SELECT count(*) FROM a"))
}
