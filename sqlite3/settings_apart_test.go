package sqlite3_test

import (
	"database/sql/driver"
	"slices"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestASettingOfAnAttachedDatabaseIsThatConnectionsOwn(t *testing.T) {
	db := ours(t, dsnOf(t, ""), "CREATE TABLE a (n)")
	exec(t, db, "ATTACH ':memory:' AS y")
	exec(t, db, "PRAGMA y.synchronous = OFF")
	conns := held(t, db, 3) // others have no such database
	closeAll(t, conns)
	exec(t, db, "INSERT INTO a VALUES (1)")
}

// The file says WAL or DELETE; but a connection that has been told something else does not look.
func TestAJournalModeOfTheFileIsTheLatestForNewConnections(t *testing.T) {
	for _, c := range [][]string{
		{"PRAGMA journal_mode = TRUNCATE", "PRAGMA journal_mode = WAL", "wal"},
		{"PRAGMA journal_mode = OFF", "PRAGMA journal_mode = DELETE", "delete"},
		{"PRAGMA journal_mode = MEMORY", "PRAGMA main.journal_mode = DELETE; CREATE TABLE b (n)", "delete"},
		{"PRAGMA main.journal_mode = MEMORY", "PRAGMA journal_mode = WAL", "wal"},
		{"PRAGMA journal_mode = WAL", "PRAGMA journal_mode = DELETE", "delete"},
	} {
		db := ours(t, "file:"+t.TempDir()+"/test.db", "CREATE TABLE a (n)")
		exec(t, db, c[0])
		exec(t, db, c[1])
		assert.Equal(t, times(5, c[2]), everywhere(t, db, "PRAGMA journal_mode"), c)
	}
}

func TestASettingInATransactionBegunByTextIsNobodyElses(t *testing.T) {
	db := ours(t, dsnOf(t, ""))
	exec(t, db, "BEGIN")
	exec(t, db, "PRAGMA foreign_keys = ON") // SQLite ignores it there
	exec(t, db, "COMMIT")
	assert.Equal(t, times(5, "0"), everywhere(t, db, "PRAGMA foreign_keys"))
}

func TestASettingReachesAConnectionWhenItsTransactionIsOver(t *testing.T) {
	db := ours(t, dsnOf(t, ""))
	exec(t, db, "BEGIN")
	begun, err := db.Conn(background)
	require.NoError(t, err)
	exec(t, db, "PRAGMA foreign_keys = ON")
	require.NoError(t, begun.Close())
	begun, err = db.Conn(background)
	require.NoError(t, err)
	_, err = begun.ExecContext(background, "COMMIT")
	require.NoError(t, err)
	require.NoError(t, begun.Close())
	assert.Equal(t, times(5, "1"), everywhere(t, db, "PRAGMA foreign_keys"))
}

func TestTheLatestBusyTimeoutIsHowLongACallWaits(t *testing.T) {
	db := ours(t, dsnOf(t, ""), "CREATE TABLE a (n)")
	exec(t, db, "PRAGMA busy_timeout = 1")
	conns := held(t, db, 1)
	exec(t, db, "PRAGMA busy_timeout = 5000") // by a connection that was opened with it
	closeAll(t, conns)
	release := hold(t, db)
	call := calls("INSERT INTO a VALUES (1)")[0]
	done := make(chan bool)
	go func() { defer close(done); call.exec(db) }()
	awaitQueued(t, db, 1)
	time.Sleep(20 * time.Millisecond) // longer than the first
	release()
	bounded.Receive(t, "it is done", done)
	require.NoError(t, call.err)
}

func TestASettingOnAConnThatIsUsedByRawIsThatConnsOwn(t *testing.T) {
	db := ours(t, dsnOf(t, "&_fk=1"))
	c, err := db.Conn(background)
	require.NoError(t, err)
	_, err = c.ExecContext(background, "PRAGMA foreign_keys = OFF")
	require.NoError(t, err)
	require.NoError(t, groupcommit.Raw(background, c, func(driver.Conn) error { return nil }))
	require.NoError(t, c.Close())
	values := everywhere(t, db, "PRAGMA foreign_keys")
	slices.Sort(values)
	assert.Equal(t, append([]string{"0"}, times(4, "1")...), values)
}
