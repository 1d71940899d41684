package sqlite3

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/groupcommit/groupcommit/internal/syncer"
	"github.com/mattn/go-sqlite3"
)

// A wal is the write-ahead log of one database file, as all connections of this process share its syncs.
//
// In WAL mode a transaction is committed when its frames are in the log and published. At synchronous=FULL SQLite syncs the
// log before it publishes. A transaction that runs at NORMAL publishes first, and wal syncs afterwards, by a descriptor of its
// own, for all that have published meanwhile. Checkpoints sync at NORMAL as they do at FULL, so what has left the log is
// durable in the database file.
//
// The descriptor is opened before the frames are written that it syncs, and is kept: an error of writing back is reported
// once to each descriptor that is open then. POSIX locks belong to the database file and the -shm, which wal never opens.
// As long as a connection of this process has the log open, no process deletes it. Where it was deleted meanwhile, by the last
// connection that closed, all of it is in the database file, and wal opens the next one.
//
// After a sync that has failed, what is in the log may be lost, and with it all behind it, whatever a later sync says. Then the
// database is sick: the next writer moves all of the log into the database file, at FULL, before it writes anything. Until
// that has succeeded none writes.
type wal struct {
	file  string // the database's
	users int    // the registry guards it

	deferred atomic.Int64 // connections whose transactions share their sync

	mu    sync.Mutex
	info  fs.FileInfo
	of    *syncer.Syncer // of the log
	tried time.Time      // the last attempt to heal
}

// wals are those of this process, by the path of the database file.
var wals struct {
	mu     sync.Mutex
	byFile map[string]*wal
}

func joinWAL(file string) *wal {
	wals.mu.Lock()
	defer wals.mu.Unlock()
	w := wals.byFile[file]
	if w == nil {
		if wals.byFile == nil {
			wals.byFile = make(map[string]*wal)
		}
		w = &wal{file: file}
		wals.byFile[file] = w
	}
	w.users++
	return w
}

func (w *wal) quit() {
	wals.mu.Lock()
	defer wals.mu.Unlock()
	if w.users--; w.users > 0 {
		return
	}
	delete(wals.byFile, w.file)
}

// syncer returns what syncs the log that is there now; nil if there is none, or an error if it cannot be opened.
func (w *wal) syncer() (*syncer.Syncer, error) {
	path := w.file + "-wal"
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of != nil && os.SameFile(info, w.info) {
		return w.of, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil {
		err = sharable(f)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	// A caller may still wait for the log of before: the collector closes it.
	w.info, w.of = info, syncer.New(func() error { return syncer.Fdatasync(f) })
	return w.of, nil
}

// wait is the database's engine.Traits.Durable.
func (w *wal) wait() error {
	s, err := w.syncer()
	if err == nil && s != nil {
		err = s.Wait()
	}
	if err != nil {
		return errSync
	}
	return nil
}

// seen is the database's engine.Traits.Seen. A transaction that was committed and is not durable is of a connection that is
// still deferred, or its log knows of it.
func (w *wal) seen() error {
	w.mu.Lock()
	s := w.of
	w.mu.Unlock()
	if s == nil || w.deferred.Load() == 0 && s.Settled() {
		return nil
	}
	if s.Wait() != nil {
		return errSync
	}
	return nil
}

// errSync is the error of a sync that has failed: SQLite's own, at FULL.
var errSync = sqlite3.Error{Code: sqlite3.ErrIoErr, ExtendedCode: sqlite3.ErrIoErrFsync}

// sick is the syncer of a log that a sync of has failed; nil if there is none.
func (w *wal) sick() *syncer.Syncer {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of != nil && w.of.Failed() != nil {
		return w.of
	}
	return nil
}

// healEvery is the least time between two attempts to heal.
const healEvery = time.Second

// heal makes all that is in the log durable in the database file. The caller's connection syncs checkpoints.
func (w *wal) heal(c *connection) error {
	s := w.sick()
	if s == nil {
		return nil
	}
	w.mu.Lock()
	again := time.Since(w.tried) >= healEvery
	if again {
		w.tried = time.Now()
	}
	w.mu.Unlock()
	if !again {
		return errSync
	}
	busy, err := number(c.lite, "PRAGMA main.wal_checkpoint(TRUNCATE)")
	if err != nil || busy != 0 {
		return errSync
	}
	s.Heal()
	return nil
}
