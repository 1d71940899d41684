//go:build cgo && !linux

package sqlite3

import "os"

// canShare is false where it was not tried.
const canShare = false

var sharable = func(*os.File) error { return errUnshared }
