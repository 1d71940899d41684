//go:build cgo

package sqlite3

import (
	"errors"
	"strconv"

	"github.com/mattn/go-sqlite3"
)

// codeOf returns the code of SQLite's own error; 0 for any other error.
func codeOf(err error) sqlite3.ErrNo {
	var e sqlite3.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

func isBusy(err error) bool { return codeOf(err) == sqlite3.ErrBusy }

// rejection reports an error that the same call would meet again, and the error's code.
func rejection(err error) (code string, ok bool) {
	var e sqlite3.Error
	if !errors.As(err, &e) || e.Code != sqlite3.ErrConstraint && e.Code != sqlite3.ErrMismatch {
		return "", false
	}
	return strconv.Itoa(int(e.ExtendedCode)), true
}

// environment reports an error of the file, the machine or another connection, which does not depend on the statement.
func environment(err error) bool {
	var e sqlite3.Error
	errors.As(err, &e)
	switch e.Code {
	case sqlite3.ErrPerm, sqlite3.ErrBusy, sqlite3.ErrNomem, sqlite3.ErrReadonly, sqlite3.ErrInterrupt, sqlite3.ErrIoErr, sqlite3.ErrCorrupt,
		sqlite3.ErrFull, sqlite3.ErrCantOpen, sqlite3.ErrProtocol, sqlite3.ErrNoLFS, sqlite3.ErrNotADB:
		return true
	case sqlite3.ErrLocked: // by another connection, and not by rows that the handler itself has left open
		return e.ExtendedCode == sqlite3.ErrLockedSharedCache
	}
	return false
}
