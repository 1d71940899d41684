package pgx

import (
	"github.com/groupcommit/groupcommit/engine"
)

// AlwaysMany is an engine whose groups have statements of so many rows, however small the groups are. It does not learn
// that a text is slow, or fails often.
func AlwaysMany(rows ...int) engine.Engine {
	e := newAdapter()
	e.widths, e.memory.always, e.memory.fixed = rows, true, true
	return e
}

// Fixed is an engine that does not learn that a text is slow, or fails often. On a busy machine three calls of whatever texts may look slow,
// one after the other.
func Fixed() engine.Engine {
	e := newAdapter()
	e.memory.fixed = true
	return e
}

// WhySingle asks why the table $1 is to have single rows.
const WhySingle = checkSQL

// ManyGroups is how many groups an engine of AlwaysMany has committed with statements of many rows.
func ManyGroups(e engine.Engine) int64 { return e.(*adapter).memory.manies.Load() }
