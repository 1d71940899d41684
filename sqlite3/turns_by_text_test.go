package sqlite3_test

import (
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/require"
)

// One that has read already does not wait for the turn: its snapshot is stale when the turn comes.
func TestATransactionByTextWaitsForItsTurnWhateverTheOneBeforeHasRead(t *testing.T) {
	db := ours(t, dsnOf(t, impatient), "CREATE TABLE a (n)")
	c, err := db.Conn(background)
	require.NoError(t, err)
	defer c.Close()
	exec(t, c, "BEGIN")
	require.Empty(t, texts(c, "SELECT n FROM a"))
	exec(t, c, "COMMIT")
	exec(t, c, "BEGIN")
	release := hold(t, db)
	written := make(chan error)
	go func() {
		_, err := c.ExecContext(background, "INSERT INTO a VALUES (1)")
		written <- err
	}()
	select {
	case err := <-written:
		require.NoError(t, err, "it has not waited")
	case <-time.After(20 * time.Millisecond): // longer than the busy timeout
	}
	release()
	require.NoError(t, bounded.Receive(t, "the call is answered", written))
	exec(t, c, "COMMIT")
}
