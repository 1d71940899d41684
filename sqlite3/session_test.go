package sqlite3

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// sessionOf is a session on a new connection to a file.
func sessionOf(t testing.TB, file string) *session {
	t.Helper()
	conn, err := (&sqlite3.SQLiteDriver{}).Open("file:" + file)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	s, err := adapter{}.Open(context.Background(), conn, engine.Settings{})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s.(*session)
}

func TestACommitWithFilesBesideTheMainOneMayHaveBeenDoneInPart(t *testing.T) {
	dir := t.TempDir()
	for _, attached := range []bool{false, true} {
		session := sessionOf(t, filepath.Join(dir, fmt.Sprint(attached)))
		if attached {
			_, err := session.lite.Exec(fmt.Sprintf("ATTACH '%s' AS other", filepath.Join(dir, "other")), nil)
			require.NoError(t, err)
		}
		full := sqlite3.Error{Code: sqlite3.ErrFull, ExtendedCode: sqlite3.ErrNoExtended(sqlite3.ErrFull)}
		require.Equal(t, !attached, session.undone(full))
		require.True(t, session.undone(sqlite3.Error{Code: sqlite3.ErrConstraint, ExtendedCode: sqlite3.ErrConstraintCommitHook}))
		require.False(t, session.undone(errors.New("not SQLite's")))
	}
}

func TestWithExclusiveLockingADeleteJournalEndsAsAPersistentOne(t *testing.T) {
	session := sessionOf(t, filepath.Join(t.TempDir(), "x"))
	fsync := sqlite3.Error{Code: sqlite3.ErrIoErr, ExtendedCode: sqlite3.ErrIoErrFsync}
	require.True(t, session.undone(fsync))
	require.NoError(t, session.control("PRAGMA locking_mode = EXCLUSIVE"))
	require.False(t, session.undone(fsync))
}

func TestAJournalThatIsTurnedOffLaterIsSeen(t *testing.T) {
	session := sessionOf(t, ":memory:")
	for _, mode := range []string{"MEMORY", "OFF", "MEMORY"} {
		require.NoError(t, session.control("PRAGMA journal_mode = "+mode))
		require.Equal(t, mode == "OFF", session.unprotected())
	}
}
