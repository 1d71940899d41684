package physical

import (
	"context"
	"database/sql/driver"
	"sync"
	"sync/atomic"

	"github.com/groupcommit/groupcommit/internal/fallback"
)

// maxIdleStmts is how many prepared statements a connection keeps for the next that prepares the same text.
const maxIdleStmts = 64

// A Stmt is the use of a statement that is prepared on a connection. The zero value is none, and its Native is nil.
type Stmt struct {
	Native driver.Stmt
	query  string
	schema int64 // the version of the schema that it was prepared under
}

// TakeStmt returns a statement that was prepared before, or else a new one. schema is the version of the database's schema:
// no statement outlives a change of it.
func (c *Conn) TakeStmt(ctx context.Context, query string, schema int64) (Stmt, error) {
	if c.schema != schema {
		c.closeUnused()
		c.schema = schema
	}
	if c.latest.Native != nil && c.latest.query == query {
		s := c.latest
		c.latest = Stmt{}
		return s, nil
	}
	native, ok := c.unused.Take(query)
	if !ok {
		var err error
		if native, err = fallback.Prepare(ctx, c.Raw, query); err != nil {
			return Stmt{}, err
		}
	}
	return Stmt{native, query, schema}, nil
}

// EndStmt ends the use of a statement; keep leaves it to the next that prepares the same text.
func (c *Conn) EndStmt(s Stmt, keep bool) {
	if !keep || s.schema != c.schema {
		s.Native.Close()
		return
	}
	if c.latest.Native != nil {
		c.unused.Put(c.latest.query, c.latest.Native)
	}
	c.latest = s
}

// closeUnused closes the statements that are not in use.
func (c *Conn) closeUnused() {
	if c.latest.Native != nil {
		c.latest.Native.Close()
		c.latest = Stmt{}
	}
	c.unused.Clear()
}

// dropClosed closes the statements that are not in use and that the program has closed.
func (c *Conn) dropClosed() {
	open := &c.shared.stmts
	if now := open.closed.Load(); c.closed != now {
		c.closed = now
		if c.latest.Native != nil && open.none(c.latest.query) {
			c.latest.Native.Close()
			c.latest = Stmt{}
		}
		c.unused.DropIf(open.none)
	}
}

// openStmts counts a program's prepared statements, by text, where the driver uses one that is prepared on a connection for
// every call with its text there: see ByText of package engine. Such a statement stays on the physical connections while the
// program has it open, as on the plain driver; afterwards it must not be there for the next call.
type openStmts struct {
	mu     sync.Mutex
	n      map[string]int // of each text, at least 1
	closed atomic.Int64   // how often a text's last statement was
}

func (o *openStmts) open(query string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.n == nil {
		o.n = make(map[string]int)
	}
	o.n[query]++
}

func (o *openStmts) close(query string) (another bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.n[query]--; o.n[query] > 0 {
		return true
	}
	delete(o.n, query)
	o.closed.Add(1)
	return false
}

func (o *openStmts) none(query string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.n[query] == 0
}
