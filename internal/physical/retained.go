package physical

import (
	"sync"
	"sync/atomic"
)

// retained are connections whose lease is over, while it is not known whether the program's own pool keeps the connections
// that they were leased for. A program whose pool keeps none, by SetMaxIdleConns(0), wants each use to open a connection: if
// another library's pool lies below, that gives connections back to it, and shows its hooks the caller for which each is
// taken. Then no connection is idle here either.
type retained struct {
	known atomic.Bool // that the program's pool keeps connections, or that it need not be known; set before the leases are taken

	mu     sync.Mutex
	leases map[any]Lease // by owner
}

// Keeps reports that connections may be idle.
func (p *Pool) Keeps() bool { return p.retained.known.Load() }

// MayKeep lets connections be idle. It is called when the program's own pool has kept one of its connections for the next
// use, and where that cannot be seen.
func (p *Pool) MayKeep() {
	r := &p.retained
	if r.known.Load() || !r.known.CompareAndSwap(false, true) {
		return
	}
	p.SetMaxIdleConns(idleConns)
	r.mu.Lock()
	leases := r.leases
	r.leases = nil
	r.mu.Unlock()
	for _, l := range leases {
		l.GiveBack(false)
	}
}

// Retain ends a lease, and keeps the connection for its owner's next use while it is not known whether the program's pool
// keeps the owner: if it does not, the connection is closed with the owner, which calls TakeRetained then.
func (p *Pool) Retain(owner any, l Lease) {
	r := &p.retained
	r.mu.Lock()
	known := r.known.Load()
	if !known {
		if r.leases == nil {
			r.leases = make(map[any]Lease)
		}
		r.leases[owner] = l
	}
	r.mu.Unlock()
	if known {
		l.GiveBack(false)
	}
}

// TakeRetained returns the lease that is retained for an owner, if there is one.
func (p *Pool) TakeRetained(owner any) (l Lease, ok bool) {
	r := &p.retained
	if r.known.Load() {
		return Lease{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l, ok = r.leases[owner]
	delete(r.leases, owner)
	return l, ok
}
