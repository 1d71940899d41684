package groupcommit

import (
	"sync"
	"sync/atomic"
)

// openStmts counts a program's prepared statements, by text, where the driver uses one that is prepared on a connection for
// every call with its text there: see [Traits.ByText]. Such a statement stays on the physical connections while the program
// has it open, as on the plain driver; afterwards it must not be there for the next call.
type openStmts struct {
	mu     sync.Mutex
	n      map[string]int // of each text, at least 1
	closed atomic.Int64   // how often a text's last statement was
}

func (o *openStmts) opened(query string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.n == nil {
		o.n = make(map[string]int)
	}
	o.n[query]++
}

// close reports whether there is still another one.
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

// dropClosed closes the statements that nobody uses now and the program has closed. Whoever borrows the connection calls it.
func (p *physical) dropClosed() {
	if now := p.db.stmts.closed.Load(); p.closed != now {
		p.closed = now
		p.unused.DropIf(p.db.stmts.none)
	}
}
