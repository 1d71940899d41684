package powertest_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"sync"
	"testing"

	"github.com/groupcommit/groupcommit/internal/powertest"
	_ "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// walSync syncs the WAL beside SQLite, for commits that have not.
type walSync struct {
	fdatasync func(*os.File) error
	wal       *os.File

	one sync.Mutex // held during a sync

	mu      sync.Mutex
	running chan struct{} // closed when the sync that runs is over
}

func (w *walSync) open(file string) (*sql.DB, error) {
	db, err := sql.Open("sqlite3", "file:"+file+"?_busy_timeout=20000&_txlock=immediate&_sync=NORMAL")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if _, err = db.Exec("INSERT INTO t VALUES (-1, ''); DELETE FROM t"); err == nil { // the WAL is there, and stays
		w.wal, err = os.Open(file + "-wal")
	}
	return db, err
}

// sync syncs for one caller at a time: many that wait for the made disk would sync for the one whose acknowledgement is looked at, before
// the image has its turn.
func (w *walSync) sync() error {
	w.one.Lock()
	defer w.one.Unlock()
	return w.fdatasync(w.wal)
}

// joined is the mistake that a shared sync must not make: a caller is content with a sync that began before its commit.
func (w *walSync) joined() error {
	w.mu.Lock()
	if over := w.running; over != nil {
		w.mu.Unlock()
		<-over
		return nil
	}
	over := make(chan struct{})
	w.running = over
	w.mu.Unlock()
	err := w.sync()
	w.mu.Lock()
	w.running = nil
	w.mu.Unlock()
	close(over)
	return err
}

// run runs transactions at NORMAL, with something before and behind each COMMIT.
func (w *walSync) run(t *testing.T, loses bool, before, behind func() error) powertest.Report {
	report := powertest.Run(t, powertest.Load{
		Still: loses, // a checkpoint would sync as well
		Loses: loses,
		Open:  w.open,
		Go:    func(fdatasync func(*os.File) error) { w.fdatasync = fdatasync },
		Ways: []powertest.Way{func(ctx context.Context, db *sql.DB, add, remove int64) error {
			return errors.Join(before(), powertest.Transactions(ctx, db, add, remove), behind())
		}},
	})
	require.Zero(t, report.Corrupt, report)
	return report
}

func nothing() error { return nil }

func TestASyncOfTheWALBehindEachCommitLosesNothing(t *testing.T) {
	w := &walSync{}
	assert.Zero(t, w.run(t, false, nothing, w.sync).Missing)
}

func TestASyncBeforeACommitIsFound(t *testing.T) {
	w := &walSync{}
	assert.NotZero(t, w.run(t, true, w.sync, nothing).Missing)
}

func TestACommitWithoutASyncIsFound(t *testing.T) {
	w := &walSync{}
	assert.NotZero(t, w.run(t, true, nothing, nothing).Missing)
}

func TestACallerThatJoinsASyncWhichHasBegunIsFound(t *testing.T) {
	w := &walSync{}
	assert.NotZero(t, w.run(t, true, nothing, w.joined).Missing)
}
