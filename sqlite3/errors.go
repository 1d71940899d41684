//go:build cgo

package sqlite3

import (
	"errors"
	"strconv"

	"github.com/groupcommit/groupcommit/engine"

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

// class is how an error is counted.
func class(err error) engine.ErrorClass {
	code := codeOf(err)
	if recorded, ok := errors.AsType[*engine.RejectedError](err); ok {
		extended, _ := strconv.Atoi(recorded.Code)
		code = sqlite3.ErrNo(extended & 0xff)
	}
	switch code {
	case sqlite3.ErrConstraint:
		return engine.ErrorConstraint
	case sqlite3.ErrBusy, sqlite3.ErrLocked, sqlite3.ErrProtocol:
		return engine.ErrorBusy
	case sqlite3.ErrInterrupt:
		return engine.ErrorCanceled
	case sqlite3.ErrFull, sqlite3.ErrIoErr, sqlite3.ErrCorrupt, sqlite3.ErrNotADB, sqlite3.ErrCantOpen, sqlite3.ErrReadonly, sqlite3.ErrPerm, sqlite3.ErrNoLFS:
		return engine.ErrorStorage
	}
	return engine.ErrorOther
}
