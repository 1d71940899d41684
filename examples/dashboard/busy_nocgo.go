//go:build !cgo

package main

import "errors"

// busy is never seen: without cgo the database does not open, with an error that says so.
var busy = errors.New("busy")
