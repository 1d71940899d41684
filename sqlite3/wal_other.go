//go:build !linux

package sqlite3

import (
	"errors"
	"os"
)

// canShare is false where it was not tried.
const canShare = false

func sharable(*os.File) error { return errors.ErrUnsupported }
