package virtual

import (
	"context"
	"database/sql/driver"
	"strings"
	"sync/atomic"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/fallback"
	"github.com/groupcommit/groupcommit/internal/physical"
	"github.com/groupcommit/groupcommit/internal/sqltext"
)

// How a transaction of c's shares the sync that makes it durable: see engine.Deferrer. The order is always: COMMIT, the
// connection goes back, the turn goes on, the sync, the answer. So a Conn waits for a sync with empty hands.

// defers lets the next transaction on the connection share its sync, if others write, too. own says that the connection must stay
// as it is.
func (c *Conn) defers(own bool) error {
	d, ok := c.held.Conn.Session.(engine.Deferrer)
	if !ok || c.base.Writer == nil || c.held.deferred {
		return nil
	}
	own = own || c.bound || c.held.control
	alone, err := d.Defer(!own && c.base.Writer.Crowded(c.turn.turn), own)
	if err != nil {
		return err
	}
	c.base.Syncs.Note(alone)
	c.held.deferred, c.held.own, c.held.dirty = true, own, false
	return nil
}

// Syncs counts the commits that may have shared a sync, and those that did not.
type Syncs struct {
	Shared, Alone atomic.Int64
	why           atomic.Pointer[string] // the last one did not
}

// Note counts a commit. why is why it shares no sync; nil if it does.
func (s *Syncs) Note(why *string) {
	if why == nil {
		s.Shared.Add(1)
		return
	}
	s.Alone.Add(1)
	if s.why.Load() != why {
		s.why.Store(why)
	}
}

// Why is why the last commit that shared no sync did not; "" if there was none.
func (s *Syncs) Why() string {
	if why := s.why.Load(); why != nil {
		return *why
	}
	return ""
}

// statementDefers is defers for a statement that is a transaction by itself.
func (c *Conn) statementDefers(t *sqltext.Text) error {
	if c.base.Writer == nil || !t.Write || t.Query == "" || c.held.deferred {
		return nil
	}
	idle := c.held.Conn.Session.Idle()
	if t.Class == sqltext.Control && !idle { // such as ROLLBACK
		return nil
	}
	err := c.defers(!c.turn.has || c.transacting() || !idle || !complete(t))
	if t.Tentative { // it begins a transaction that may be a reader's
		return nil
	}
	return err
}

// complete reports that a text leaves no transaction open, and changes no setting of its connection.
func complete(t *sqltext.Text) bool {
	if t.Class == sqltext.Session || t.Pragma || len(t.Settings) > 0 || t.Query == "" || sqltext.Mentions(t.Query, "pragma") {
		return false
	}
	if t.Class != sqltext.Control {
		return true
	}
	text := strings.ToUpper(strings.TrimRight(t.Query, "; \t\r\n"))
	return !t.Savepoint && strings.Contains(text, ";") && (strings.HasSuffix(text, "COMMIT") || strings.HasSuffix(text, "END"))
}

// commitsWithin reports that a text, which has left a transaction open, may have committed something before: COMMIT; BEGIN, or
// INSERT …; BEGIN. A text that only begins a transaction has not.
func commitsWithin(t *sqltext.Text) bool {
	if t.Class != sqltext.Control && t.Class != sqltext.Session {
		return false
	}
	text := strings.Trim(t.Query, "; \t\r\n")
	if !strings.Contains(text, ";") {
		return false
	}
	for _, ending := range []string{"commit", "end", "rollback", "release"} {
		if sqltext.Mentions(text, ending) {
			return true
		}
	}
	first, _, _ := strings.Cut(text, " ")
	return !strings.EqualFold(strings.TrimRight(first, ";"), "begin") && !strings.EqualFold(first, "savepoint")
}

// restore has the connection commit again as it does by itself, if no transaction is open. What was committed meanwhile is to be
// settled. False if the connection cannot be used any more.
func (c *Conn) restore() bool {
	if !c.held.deferred || !c.held.Conn.Session.Idle() {
		return !c.held.deferred
	}
	durable, err := c.held.Conn.Session.(engine.Deferrer).Restore()
	if c.held.dirty {
		c.unsettled = durable
	}
	c.held.deferred = false
	return err == nil
}

// restoreAndGiveBack gives the connection back as well if there is something to settle, and nothing else that c needs it for: rows of a
// sql.Conn may still be open, and would be read in the next one's transaction. A second time in one checkout it keeps the connection: then the program has c as a sql.Conn, whose statements belong together.
func (c *Conn) restoreAndGiveBack() {
	switch {
	case !c.restore():
		c.bad = true
		c.discard()
	case c.unsettled != nil && !c.tx.begun && !c.bound && !c.held.own && !c.held.suspect && !c.held.read && c.checkout.set == nil && !c.checkout.early:
		c.checkout.early = true
		c.giveBack()
	}
}

// settle returns when all that c has committed is durable, with the error of the statement or of the COMMIT that did it. If
// that cannot be known, a success has an unknown outcome.
func (c *Conn) settle(err error) error {
	durable := c.unsettled
	if durable == nil {
		return err
	}
	c.unsettled = nil
	if failed := c.base.Writer.Settle(durable); failed != nil && err == nil {
		return &engine.OutcomeUnknownError{Cause: failed}
	}
	return err
}

// asksLevel reports that a query would see that the transaction shares its sync. A text that only has the word is not meant: it
// belongs to the transaction.
func (c *Conn) asksLevel(t *sqltext.Text) bool {
	return (c.held.deferred && !c.held.own || c.tx.unleased != nil) && !t.Write && (t.Pragma && sqltext.Mentions(t.Query, "synchronous") || sqltext.Mentions(t.Query, "pragma_synchronous"))
}

// queryAside runs a query on a connection of its own, which its rows close: one of the pool's may be all that there is.
func (c *Conn) queryAside(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	other, err := c.base.Pool.Aside(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := fallback.Query(ctx, other.Raw, query, args)
	if err != nil {
		other.Close()
		return nil, err
	}
	return &turnRows{Rows: rows, of: aside{other}}, nil
}

// aside is the holder of a query's rows that has a connection of its own.
type aside struct{ conn *physical.Conn }

func (aside) rowsFailed() {}
func (a aside) rowsClosed(_ *sqltext.Text, err error) error {
	a.conn.Close()
	return err
}

// durableRows are the rows of a query that may see what is committed and not durable yet. If readers are to wait for that, its
// first row does: the query's snapshot is not older.
func (c *Conn) durableRows(t *sqltext.Text, rows driver.Rows) driver.Rows {
	if !c.base.DurableReads || t.Class != sqltext.Read || c.transacting() {
		return rows
	}
	if seen := c.base.Traits.Load().Seen; seen != nil {
		return &turnRows{Rows: rows, text: t, of: reading{}, seen: seen}
	}
	return rows
}

// reading is the holder of rows that keep no turn.
type reading struct{}

func (reading) rowsFailed()                                 {}
func (reading) rowsClosed(_ *sqltext.Text, err error) error { return err }
