//go:build cgo

package sqlite3

import (
	"errors"
	"io/fs"
	"os"
	"slices"
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
// that has succeeded none writes. SQLite moves the log, too, when the last connection closes, and tells nobody if it cannot. So a
// database that is sick stays so when its connections are closed.
type wal struct {
	file  string      // the database's
	main  fs.FileInfo // the same; while a connection is open no other file has its inode
	users int         // the registry guards it

	deferred atomic.Int64 // connections whose transactions share their sync
	parted   atomic.Bool  // there are former logs

	mu     sync.Mutex
	of     *walLog   // the one that is there now, if it was needed
	former []*walLog // which a transaction may still need
	tried  time.Time // the last attempt to heal
}

// A walLog is the file of a log. No other file has its inode before it is closed.
type walLog struct {
	*syncer.Syncer
	info fs.FileInfo
	f    *os.File
}

func openLog(path string) (*walLog, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = sharable(f)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &walLog{syncer.New(func() error { return syncer.Fdatasync(f) }), info, f}, nil
}

// end closes the file. A caller that still waits for what it has committed has its answer.
func (l *walLog) end() {
	l.Close()
	l.f.Close()
}

// wals are those of this process, by the path of the database file: a file may have had the name of another. A list is never changed, but
// made anew.
var wals struct {
	mu     sync.Mutex
	byPath map[string][]*wal
}

// joinWAL is for a connection that has opened a file.
func joinWAL(file string, main fs.FileInfo) *wal {
	wals.mu.Lock()
	defer wals.mu.Unlock()
	for _, w := range wals.byPath[file] {
		if os.SameFile(main, w.main) {
			w.users++
			return w
		}
	}
	if wals.byPath == nil {
		wals.byPath = make(map[string][]*wal)
	}
	w := &wal{file: file, main: main, users: 1}
	wals.byPath[file] = append(slices.Clip(wals.byPath[file]), w)
	return w
}

// quit is called before the connection closes the file.
func (w *wal) quit() {
	if w.isLast() {
		w.seen() // so that end, which keeps the registry from all other files, has hardly ever something to sync
	}
	wals.mu.Lock()
	defer wals.mu.Unlock()
	if w.users--; w.users > 0 || !w.end() {
		return
	}
	others := slices.DeleteFunc(slices.Clone(wals.byPath[w.file]), func(other *wal) bool { return other == w })
	if wals.byPath[w.file] = others; len(others) == 0 {
		delete(wals.byPath, w.file)
	}
}

// isLast reports that the connection which is about to quit is the only one.
func (w *wal) isLast() bool {
	wals.mu.Lock()
	defer wals.mu.Unlock()
	return w.users == 1
}

// end closes what is open. False if the database is sick.
func (w *wal) end() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.endFormer()
	if w.of != nil {
		if w.of.Close() != nil {
			return false
		}
		w.of.end()
		w.of = nil
	}
	return true
}

func (w *wal) endFormer() {
	for _, l := range w.former {
		l.end()
	}
	w.former = nil
	w.parted.Store(false)
}

// enter is called by a connection before it looks for the log that its transaction is to share, and leave when it needs that no more.
func (w *wal) enter() { w.deferred.Add(1) }

func (w *wal) leave() {
	if w.deferred.Add(-1) == 0 && w.parted.Load() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.endFormer() // no connection finds one of them
	}
}

// Why there is no log to share.
var (
	errRenamed  = errors.New("the database file has been renamed or replaced")
	errUnshared = errors.New("syncs are not shared on this file system")
)

// log returns the log that is there now; nil if there is none, or an error if it cannot be opened.
func (w *wal) log() (*walLog, error) {
	path := w.file + "-wal"
	info, err := os.Stat(path)
	none := errors.Is(err, fs.ErrNotExist)
	if err != nil && !none {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case none && w.of == nil:
		return nil, nil
	case !none && w.of != nil && os.SameFile(info, w.of.info):
		return w.of, nil
	}
	switch main, err := os.Stat(w.file); {
	case err != nil:
		return nil, err
	case !os.SameFile(main, w.main):
		return nil, errRenamed
	}
	var next *walLog
	if !none {
		if next, err = openLog(path); err != nil {
			return nil, err
		}
	}
	if w.of != nil {
		w.former = append(w.former, w.of)
		w.parted.Store(true)
	}
	w.of = next
	return next, nil
}

// wait returns when all that is in the log is durable, whoever has committed it.
func (w *wal) wait() error {
	log, err := w.log()
	switch {
	case errors.Is(err, errRenamed):
		w.mu.Lock()
		log = w.of
		w.mu.Unlock()
	case errors.Is(err, errUnshared): // by any process
		return nil
	case err != nil:
		return errSync
	}
	if log != nil && log.Wait() != nil {
		return errSync
	}
	return nil
}

// walsOf are those of a path.
func walsOf(file string) []*wal {
	wals.mu.Lock()
	defer wals.mu.Unlock()
	return wals.byPath[file]
}

// durableAt is the engine.Traits.Durable of a database file.
func durableAt(file string) error {
	main, err := os.Stat(file)
	if err != nil {
		return errSync
	}
	defer joinWAL(file, main).quit()
	for _, w := range walsOf(file) {
		if err := w.wait(); err != nil {
			return err
		}
	}
	return nil
}

// seenAt is the engine.Traits.Seen of a database file.
func seenAt(file string) error {
	for _, w := range walsOf(file) {
		if err := w.seen(); err != nil {
			return err
		}
	}
	return nil
}

// seen waits for what this process has committed. A transaction that was committed and is not durable is of a connection that is
// still deferred, or its log knows of it.
func (w *wal) seen() error {
	w.mu.Lock()
	log := w.of
	w.mu.Unlock()
	if log == nil || w.deferred.Load() == 0 && log.Settled() {
		return nil
	}
	if log.Wait() != nil {
		return errSync
	}
	return nil
}

// errSync is the error of a sync that has failed: SQLite's own, at FULL.
var errSync = sqlite3.Error{Code: sqlite3.ErrIoErr, ExtendedCode: sqlite3.ErrIoErrFsync}

// sick is a log that a sync of has failed; nil if there is none.
func (w *wal) sick() *walLog {
	if w.failed() == nil {
		return nil
	}
	w.log() // it may have been moved, and deleted
	return w.failed()
}

func (w *wal) failed() *walLog {
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
	l := w.sick()
	if l == nil {
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
	l.Heal()
	return nil
}
