package sqlite3_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// waitsFor requires f to have no answer before release is called, and returns the one that it has then.
func waitsFor(t *testing.T, release func(), f func() error) error {
	t.Helper()
	answer := make(chan error, 1)
	go func() { answer <- f() }()
	select {
	case err := <-answer:
		release()
		t.Fatalf("it did not wait for its turn: %v", err)
	case <-time.After(500 * time.Millisecond): // far longer than the busy timeout
	}
	release()
	return bounded.Receive(t, "the call is answered", answer)
}

func TestManyCallersAtTheFirstUseAreAllServed(t *testing.T) {
	dsn := dsnOf(t, "")
	openDB(t, "sqlite3", dsn, "CREATE TABLE a (k INTEGER UNIQUE, v TEXT)")
	db := ours(t, dsn+"&groupcommit_promises=on")
	var done sync.WaitGroup
	for k := range 500 {
		done.Go(func() {
			_, err := db.ExecContext(withID(fmt.Sprint(k)), insertRow, k, "v")
			assert.NoError(t, err)
		})
	}
	bounded.Wait(t, "the calls are answered", done.Wait)
	require.Equal(t, 500, count(t, db, "SELECT count(*) FROM a"))
}

func TestTheFirstUseMakesTheLedgersTableInItsTurn(t *testing.T) {
	dsn := dsnOf(t, impatient)
	release := hold(t, ours(t, dsn))
	db := ours(t, dsn+"&groupcommit_promises=on")
	require.NoError(t, waitsFor(t, release, db.Ping))
}

func TestTheFirstUseOfALedgerThatIsThereWaitsForNobody(t *testing.T) {
	db, dsn := promising(t, impatient)
	release := hold(t, db)
	defer release()
	require.NoError(t, ours(t, dsn+"&groupcommit_promises=on").Ping())
}
