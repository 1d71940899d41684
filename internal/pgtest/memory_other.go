//go:build !linux

package pgtest

// memory is no folder, where it is not known which one is in memory.
func memory() string { return "" }
