//go:build cgo

package main

import "github.com/mattn/go-sqlite3"

// busy is an error after which a batch is tried again.
var busy error = sqlite3.Error{Code: sqlite3.ErrBusy}
