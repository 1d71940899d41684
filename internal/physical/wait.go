package physical

import (
	"container/list"
	"context"
	"database/sql"
	"time"
)

// A grant is what a borrower gets: a connection, or leave to open one.
type grant struct {
	conn     *Conn
	replaced *Conn // to be closed first; the new one has its place
	stand    *stand
	lent     *sql.Conn // of the stand, which keeps conn
}

// A waiter is a borrower that waits for a connection.
//
// Groups come first, since many callers wait for each; but another comes between two groups, so that groups do not keep out
// a reader for ever. Others come in the order of their arrival. Calls that were put off may be waiting for locks, and what
// they wait for may need a connection: of a bounded number they have no more than forPutOff.
type waiter struct {
	use    Use
	fresh  bool
	ctx    context.Context
	number int64
	asking bool          // for a seat: see ask
	ready  chan struct{} // closed when done

	// Written before ready is closed.
	done  bool
	grant grant
	err   error
	stand *stand // what ask takes; nil if it takes nothing

	place *list.Element
}

// queue has those that wait, by purpose, each in the order of arrival.
type queue struct {
	of    [3]list.List // of *waiter
	last  int64
	group bool // the last one served was a group
}

func (q *queue) first(f Purpose) *waiter {
	if e := q.of[f].Front(); e != nil {
		return e.Value.(*waiter)
	}
	return nil
}

// order returns who comes first, second and third.
func (q *queue) order() (ws [3]*waiter) {
	group, a, b := q.first(Group), q.first(Program), q.first(PutOff)
	if a == nil || b != nil && b.number < a.number {
		a, b = b, a
	}
	if q.group && a != nil {
		return [3]*waiter{a, group, b}
	}
	return [3]*waiter{group, a, b}
}

func (q *queue) empty() bool { return q.of[0].Len()+q.of[1].Len()+q.of[2].Len() == 0 }

func (q *queue) remove(w *waiter) {
	q.of[w.use.For].Remove(w.place)
	w.done = true
	close(w.ready)
}

// fail ends the waiting of those for which why returns an error.
func (q *queue) fail(why func(*waiter) error) {
	for i := range q.of {
		for e := q.of[i].Front(); e != nil; {
			w := e.Value.(*waiter)
			e = e.Next()
			if w.err = why(w); w.err != nil {
				q.remove(w)
			}
		}
	}
}

// enqueue makes a borrower wait. p.mu is held, here and in the next functions.
func (p *Pool) enqueue(ctx context.Context, u Use, fresh, asking bool) *waiter {
	q := &p.waiting
	q.last++
	w := &waiter{use: u, fresh: fresh, ctx: ctx, number: q.last, asking: asking, ready: make(chan struct{})}
	if asking {
		w.stand = &stand{pool: p}
	}
	w.place = q.of[u.For].PushBack(w)
	p.counted.WaitCount++
	return w
}

// serve gives what is free to those that wait.
func (p *Pool) serve() {
	for !p.waiting.empty() && p.serveOne() {
	}
}

func (p *Pool) serveOne() bool {
	for _, w := range p.waiting.order() {
		if w == nil {
			continue
		}
		if g, ok := p.grant(w.ctx, w.use, w.fresh, w.asking); ok {
			g.stand = w.stand
			w.grant = g
			p.served(w)
			return true
		}
	}
	return false
}

// served ends the waiting of one that has its grant.
func (p *Pool) served(w *waiter) {
	p.waiting.group = w.use.For == Group
	p.waiting.remove(w)
}

// grant gives a borrower a connection, or leave to open one, if there is either. asking says that the program's pool has been
// asked for a seat, so that no connection is opened without one.
func (p *Pool) grant(ctx context.Context, u Use, fresh, asking bool) (g grant, ok bool) {
	if u.For == PutOff && p.putOff >= p.forPutOff() {
		return g, false
	}
	fresh = fresh && !p.single
	if i := p.choose(ctx, u); i >= 0 && !fresh {
		g.conn = p.takeOut(i)
	} else if p.open < p.bound() && (p.open < p.seats.n || p.open == 0 && !asking || p.single) {
		p.open++
	} else if len(p.idle) > 0 && (fresh || !asking) { // a new one is wanted, or what is idle is kept for another use
		g.replaced = p.takeOut(0)
	} else if g.replaced = p.takeKept(u); g.replaced != nil {
		p.inUse-- // in the place of that
	} else {
		return g, false
	}
	p.inUse++
	if u.For == PutOff {
		p.putOff++
	}
	return g, true
}

// choose returns the place of the idle connection that suits a borrower best, -1 if none does.
func (p *Pool) choose(ctx context.Context, u Use) int {
	best := -1
	for i := len(p.idle) - 1; i >= 0; i-- {
		c := p.idle[i]
		if c.seat != nil && c.seat != u.Seat || c.opener != nil && !same(c.opener, ctx) {
			continue
		}
		if p.inUse == 0 || c.wrote == u.Writing {
			return i
		}
		if best < 0 {
			best = i
		}
	}
	return best
}

func (p *Pool) takeOut(i int) *Conn {
	c := p.idle[i]
	last := len(p.idle) - 1
	copy(p.idle[i:], p.idle[i+1:])
	p.idle[last] = nil
	p.idle = p.idle[:last]
	return c
}

// forPutOff is how many connections calls that were put off may have. Where the seats are the only bound, each of them has its
// own. Of a bounded number, a quarter and one more are left to groups and to the program. These finish in a statement's time,
// so that a few connections carry all of them, while a call that waits for a lock has its connection for as long as a
// stranger likes. The one more is for a call that has met the same lock when it ran alone, and was in no group.
func (p *Pool) forPutOff() int {
	n := p.bound()
	if n == unbounded {
		return n
	}
	return max(1, n-(n+3)/4-1)
}

// wait waits until w is served, or its context ends.
func (p *Pool) wait(ctx context.Context, w *waiter) (grant, error) {
	start := time.Now()
	var err error
	select {
	case <-w.ready:
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.mu.Lock()
	p.counted.WaitDuration += time.Since(start)
	if !w.done {
		p.waiting.remove(w)
		p.mu.Unlock()
		w.stand.close()
		return grant{}, err
	}
	p.mu.Unlock()
	switch {
	case w.err != nil:
		w.stand.close()
		return grant{}, w.err
	case err != nil:
		p.decline(w)
		return grant{}, err
	}
	return w.grant, nil
}

// decline gives back what has come too late.
func (p *Pool) decline(w *waiter) {
	g := w.grant
	if g.conn != nil {
		p.lease(w.use, g).GiveBack(g.conn.wrote)
		return
	}
	if g.replaced != nil {
		g.replaced.Close()
	}
	p.mu.Lock()
	p.open--
	p.unused(w.use.For)
	p.serve()
	p.mu.Unlock()
	g.stand.close()
}
