//go:build !linux

package syncer

import (
	"errors"
	"os"
)

// Fdatasync is for systems on which it was tried.
var Fdatasync = func(*os.File) error { return errors.ErrUnsupported }
