package groupcommit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/fallback"
	"github.com/groupcommit/groupcommit/internal/virtual"
)

// An Explanation says whether a call may share a transaction with others, and if not, why.
type Explanation struct {
	Why Why // WhyNot: it may join a group
	// Alone is how many of the groups so far had one call. A call that may join a group is alone if no other comes while one
	// is committed; it runs as on the plain driver then.
	Alone, Groups int64
}

// Grouped reports that the call may join a group.
func (e Explanation) Grouped() bool { return e.Why == WhyNot }

// String is "grouped: …" or "not grouped: …".
func (e Explanation) String() string {
	if !e.Grouped() {
		return "not grouped: " + e.Why.String()
	}
	s := "grouped: " + e.Why.String()
	if e.Groups > 0 {
		s += fmt.Sprintf("; %d of %d groups so far had one call", e.Alone, e.Groups)
	}
	return s
}

// Explain says whether db.ExecContext(ctx, query, args...) may join a group, or, for a text with RETURNING,
// db.QueryContext; and if not, which rule keeps it from that. It executes nothing. It reads the text as a call does, and says
// what has been learned of it up to now. Within a transaction, or on a *sql.Conn that is in use, no call joins a group.
//
// db must be ours. The error is that of a call which cannot be made: a database that is closed or cannot be opened, an argument
// that cannot be named.
func Explain(ctx context.Context, db *sql.DB, query string, args ...any) (Explanation, error) {
	d, err := databaseOf(ctx, db)
	if err != nil {
		return Explanation{}, err
	}
	d.Pool.Learn(db)
	traits, err := d.ready(ctx)
	if err != nil {
		return Explanation{}, err
	}
	if d.isClosed() {
		return Explanation{}, ErrClosed
	}
	nvs, err := fallback.Named(args)
	if err != nil {
		return Explanation{}, err
	}
	t := d.Texts.Get(traits.Dialect, query)
	why := virtual.Refusal(ctx, t, traits, nvs)
	if why == virtual.Groupable && t.Returning {
		why = d.RowsRefusal(t, traits)
	}
	_, id := virtual.IDOf(ctx)
	switch {
	case why != virtual.Groupable:
	case d.Apiece:
		why = virtual.Hooked
	case t.Returning && id && !traits.RowsWithID:
		why = virtual.NoRows
	case d.abreast && traits.IsApart != nil && traits.IsApart(query):
		why = virtual.Slow
	case db.Stats().MaxOpenConnections == 1:
		why = virtual.OneConn
	case d.limits.fillsGroup(ctx, query, nvs):
		why = virtual.NoRoom
	}
	s, err := StatsOf(db)
	return Explanation{Why: Why(why), Alone: s.Alone, Groups: s.Groups}, err
}

// fillsGroup reports that no other call has room in a group beside this one.
func (l *limits) fillsGroup(ctx context.Context, query string, args []driver.NamedValue) bool {
	c := engine.NewCall(ctx, query, args, false)
	return l.maxLen == 1 || c.Bytes() >= l.maxBytes
}
