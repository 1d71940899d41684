package physical

import (
	"errors"
	"math"
	"time"
)

// A refusal is what is known of a server that has refused a connection, while others are open: that there may be no more
// than these. For how long that is true is not known, because other programs, and other pools, use the server's room. So
// after a while one borrower tries again. If it gets a connection, the next one tries at once.
type refusal struct {
	bound int // how many connections the server had room for; 0: none was refused lately
	err   error
	since time.Time   // when a connection last came back, or, if none did, when the server refused
	again *time.Timer // ends the bound
}

const (
	// tryAgain is how long a refusal is taken for true. An attempt costs the server a process, and the borrower nothing: one
	// a second is not felt, and a second is not much to one that waits for a server that is full.
	tryAgain = time.Second
	// standstill is how long borrowers wait for a connection after a refusal while none comes back. The callers that have them
	// may be waiting for those very borrowers, and on the plain driver the refusal would have ended that: then it does here.
	standstill = 10 * time.Second
)

// unbounded is the bound of a pool without one.
const unbounded = math.MaxInt

// errRefused says that a borrower waits for a connection that is open.
var errRefused = errors.New("groupcommit: the server has no room for another connection")

// bound is how many connections there may be, whatever the seats. p.mu is held, as in the next methods.
func (p *Pool) bound() int {
	n := unbounded
	if p.most > 0 {
		n = p.most
	}
	if b := p.refusal.bound; b > 0 {
		n = min(n, b)
	}
	return n
}

// Room is how many connections there may be at present, at least 1: by Most, by what the server has refused, and by what the
// program has set for its pool, if that is known.
func (p *Pool) Room() int {
	n := unbounded
	if db := p.program.Load(); db != nil {
		if set := db.Stats().MaxOpenConnections; set > 0 {
			n = set
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(1, min(n, p.bound()))
}

// refused reports that an opening that has failed was refused for lack of room, and that there are connections to wait for.
// A borrower gets the driver's error if there are none.
func (p *Pool) refused(err error) bool {
	noRoom := p.shared.config.NoRoom
	if err == nil || p.open == 0 || p.closed || noRoom == nil || !noRoom(err) {
		return false
	}
	r := &p.refusal
	if r.bound == 0 {
		r.since = time.Now()
	}
	r.bound, r.err = max(1, p.open-p.closing), err // those that are being closed still have the server's room
	if r.again == nil {
		r.again = time.AfterFunc(tryAgain, p.tryAgain)
	}
	return true
}

// tryAgain lets one of those that wait open a connection. Where none waits, the next borrower may.
func (p *Pool) tryAgain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &p.refusal
	r.again = nil
	if p.closed {
		return
	}
	if time.Since(r.since) >= standstill {
		p.waiting.fail(func(*waiter) error { return r.err })
	}
	if p.waiting.empty() {
		r.bound = 0
		return
	}
	r.again = time.AfterFunc(tryAgain, p.tryAgain)
	r.bound = p.open - p.closing + 1
	p.serve()
}

// extend is called when there is a new connection, and n in all: the server may have room for one more.
func (r *refusal) extend(n int) {
	if r.bound > 0 {
		r.bound = max(r.bound, n+1)
	}
}

// moved is called when a connection comes back.
func (r *refusal) moved() {
	if r.bound > 0 {
		r.since = time.Now()
	}
}

func (r *refusal) stop() {
	if r.again != nil {
		r.again.Stop()
	}
}
