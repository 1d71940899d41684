//go:build cgo

package sqlite3

import (
	"errors"
	"slices"

	"github.com/mattn/go-sqlite3"
)

// undone reports that a transaction has left nothing in the database, though its COMMIT has failed and has ended it. (If
// COMMIT has not ended it, nothing was committed.)
//
// A commit has a point of no return. An error before that point leaves the database as it was, by the journal. After an
// error at the point or behind it, the rows may be there all the same. Only the error's code tells:
//
//	journal_mode  the point of no return                   errors that may come at it or behind it
//	WAL           the frames are entered in the wal-index  none but those of unlocking
//	DELETE        the journal is deleted                   IOERR_DELETE(_NOENT); of the directory's sync (EXTRA) IOERR_DIR_FSYNC
//	TRUNCATE      the journal is truncated                 IOERR_TRUNCATE; of the journal's sync (FULL, EXTRA) IOERR_FSYNC
//	PERSIST       the journal's header is zeroed           FULL, IOERR_WRITE, IOERR_TRUNCATE, IOERR_FSYNC, IOERR_FSTAT
//	MEMORY        (the journal is freed)                   IOERR, FULL, NOMEM: where rolling back fails, too, the journal is lost
//	OFF           each page that is written                all
//	any           the locks are given back                 IOERR_UNLOCK, IOERR_RDLOCK; if the file becomes smaller IOERR_TRUNCATE
//
// locking_mode=EXCLUSIVE makes DELETE work as PERSIST does. An earlier error, in any mode, leaves a valid journal:
// IOERR_FSYNC of the file itself in DELETE, IOERR_WRITE of its pages in DELETE and TRUNCATE, FULL, NOMEM, CANTOPEN, and the
// errors of a commit hook that says no, a virtual table or a corrupt file. If SQLite cannot play the journal back at once,
// it does so before any connection reads the file again.
//
// With several files the commit is the deletion of a super-journal. With WAL or MEMORY among them, each file commits by
// itself, one after the other: any error but a constraint's may come when some files are done.
func (c *connection) undone(err error) bool {
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return false
	}
	if e.Code == sqlite3.ErrConstraint {
		return true
	}
	databases, err1 := c.databases()
	journal, err2 := firstColumn(c.lite.Query("PRAGMA main.journal_mode", nil))
	locking, err3 := firstColumn(c.lite.Query("PRAGMA main.locking_mode", nil))
	if err1 != nil || err2 != nil || err3 != nil || len(databases) != 1 || len(journal) != 1 || len(locking) != 1 {
		return false
	}
	mode := journal[0]
	if mode == "delete" && locking[0] == "exclusive" {
		mode = "persist"
	}
	return undoneIn(mode, e)
}

func undoneIn(mode string, e sqlite3.Error) bool {
	if e.Code != sqlite3.ErrIoErr {
		return mode != "off" && !(e.Code == sqlite3.ErrFull && (mode == "persist" || mode == "memory")) && !(e.Code == sqlite3.ErrNomem && mode == "memory")
	}
	code := e.ExtendedCode
	switch mode {
	case "wal":
		return code != sqlite3.ErrIoErrUnlock && code != sqlite3.ErrIoErrRDlock && code != sqlite3.ErrIoErrTruncate
	case "delete":
		return slices.Contains(early, code) || code == sqlite3.ErrIoErrFsync || code == sqlite3.ErrIoErrWrite
	case "truncate":
		return slices.Contains(early, code) || code == sqlite3.ErrIoErrWrite
	case "persist":
		return slices.Contains(early, code)
	}
	return false
}

// early are the codes of errors that come before the point of no return, in every journal that is a file.
var early = []sqlite3.ErrNoExtended{
	sqlite3.ErrIoErrRead, sqlite3.ErrIoErrShortRead, sqlite3.ErrIoErrNoMem, sqlite3.ErrIoErrAccess, sqlite3.ErrIoErrLock,
	sqlite3.ErrIoErrBlocked, sqlite3.ErrIoErrCheckReservedLock,
}
