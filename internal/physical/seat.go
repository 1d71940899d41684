package physical

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"

	"github.com/groupcommit/groupcommit/engine"
)

// A Seat is a virtual connection of the program's pool, as far as the physical ones follow it: by its number, and by its
// age. The zero value is one that is not open.
type Seat struct {
	born       time.Time // zero if it is not open
	prev, next *Seat
	kept       *Conn // which may be taken away: see Keep
}

// seats are the open ones, in the order of their birth.
type seats struct {
	first, last *Seat
	n           int
	most        int // that n has been
	leaving     int // of these, the ones whose virtual connection is being closed
	keeping     int // of these, the ones with a connection that may be taken away
}

// keep notes the connection of a seat that may be taken away; nil if it has none any more.
func (s *seats) keep(of *Seat, c *Conn) {
	if of.kept != nil {
		s.keeping--
	}
	if of.kept = c; c != nil {
		s.keeping++
	}
}

// kept is how many connections may be idle or in use because of the seats.
func (s *seats) kept() int { return s.n - s.leaving }

// Join is called when the program's pool has a new virtual connection.
func (p *Pool) Join(s *Seat) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.born = time.Now()
	all := &p.seats
	s.prev, s.next = all.last, nil
	if all.last == nil {
		all.first = s
	} else {
		all.last.next = s
	}
	all.last = s
	all.n++
	all.most = max(all.most, all.n)
	p.serve()
}

// Leave is called when the program's pool closes a virtual connection, which holds no physical one any more. An idle
// connection is then closed if there are more than seats, and those that have become too old. The seat is counted until
// that is done, as the program's pool counts its connection.
func (p *Pool) Leave(s *Seat) {
	p.mu.Lock()
	if s.born.IsZero() {
		p.mu.Unlock()
		return
	}
	all := &p.seats
	oldest := all.first == s
	if s.prev == nil {
		all.first = s.next
	} else {
		s.prev.next = s.next
	}
	if s.next == nil {
		all.last = s.prev
	} else {
		s.next.prev = s.prev
	}
	all.keep(s, nil)
	*s = Seat{}
	all.leaving++
	victims := p.takeFor(s, oldest)
	p.closing += len(victims)
	p.mu.Unlock()
	closeAll(victims)
	p.mu.Lock()
	defer p.mu.Unlock()
	all.leaving--
	all.n-- // together with the connections: or else another would be opened for the seat that goes
	p.gone(len(victims))
}

// takeFor takes out the idle connections that go with a seat: those that are for it alone, those for which there is no seat
// any more (the one that has been idle for longest first), and, if it was the oldest, those that have become too old.
func (p *Pool) takeFor(left *Seat, oldest bool) (out []*Conn) {
	if p.single {
		return nil
	}
	out = p.takeOf(left)
	for len(p.idle) > 0 && p.open-p.closing-len(out) > max(p.seats.kept(), p.least) {
		out = append(out, p.takeOut(0))
	}
	p.counted.MaxIdleClosed += int64(len(out))
	if !oldest {
		return out
	}
	for i := len(p.idle) - 1; i >= 0; i-- {
		if p.stale(p.idle[i]) {
			out = append(out, p.takeOut(i))
			p.counted.MaxLifetimeClosed++
		}
	}
	return out
}

// Keep is called when the program's pool has a virtual connection back that keeps its physical one, with no transaction open
// and no statement. Where less connections are allowed than there are seats, it may be closed for a borrower that would
// wait for ever: any pool may close what is idle. Keep reports that this may happen.
func (p *Pool) Keep(s *Seat, l Lease) (may bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.most == 0 || p.single || l.lent != nil || l.stand != nil || s.born.IsZero() {
		return false
	}
	p.seats.keep(s, l.Conn)
	p.serve()
	return true
}

// StillKept ends that, and reports whether the connection is still there.
func (p *Pool) StillKept(s *Seat) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	still := s.kept != nil
	p.seats.keep(s, nil)
	return still
}

// takeKept takes away a connection that is kept, that of the oldest seat first, if there are not enough for all.
func (p *Pool) takeKept(u Use) *Conn {
	if p.seats.keeping == 0 || p.open < p.most || u.Seat != nil && p.seats.n <= p.most {
		return nil
	}
	for s := p.seats.first; s != nil; s = s.next {
		if c := s.kept; c != nil {
			p.seats.keep(s, nil)
			p.counted.MaxIdleClosed++
			return c
		}
	}
	return nil
}

// takeOf takes out the idle connections that are for a seat alone.
func (p *Pool) takeOf(s *Seat) (out []*Conn) {
	for i := len(p.idle) - 1; i >= 0; i-- {
		if p.idle[i].seat == s {
			out = append(out, p.takeOut(i))
		}
	}
	return out
}

// stale reports that a connection is older than every virtual connection of the program's pool: the pool has then closed all
// that were there when it was opened, because of SetConnMaxLifetime, say. A pool that keeps few of many connections closes
// them after milliseconds, and must not have the connection of the groups opened each time: a connection may always become
// minAge old.
func (p *Pool) stale(c *Conn) bool {
	first := p.seats.first
	return first != nil && c.opened.Before(first.born) && time.Since(c.opened) > minAge
}

// minAge is how old a connection may become whatever the program's pool does. See stale.
const minAge = 10 * time.Second

// Kept is called when the program's pool has kept one of its connections for the next use, and where that cannot be seen.
func (p *Pool) Kept() {
	if p.keeps.Load() || !p.keeps.CompareAndSwap(false, true) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.idle {
		c.seat, c.opener = nil, nil
	}
	p.serve()
}

// Keeps reports that the program's pool has been seen to keep a connection.
func (p *Pool) Keeps() bool { return p.keeps.Load() }

// look looks whether the program's pool keeps connections, if that is not known: one that is idle there says so.
func (p *Pool) look() {
	if p.keeps.Load() {
		return
	}
	if db := p.program.Load(); db != nil && db.Stats().Idle > 0 {
		p.Kept()
	}
}

// Learn makes the program's pool known.
func (p *Pool) Learn(db *sql.DB) {
	if p.program.Load() == nil {
		p.program.CompareAndSwap(nil, db)
	}
}

// Program returns the program's pool; nil while it is not known.
func (p *Pool) Program() *sql.DB { return p.program.Load() }

// MostSeats is how many virtual connections the program's pool has had at the same time.
func (p *Pool) MostSeats() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seats.most
}

// wantsSeats reports that there may be no more connections because of the seats, and for no other reason. p.mu is held.
func (p *Pool) wantsSeats() bool { return !p.single && p.open >= p.seats.n && p.open < p.bound() }

// ask takes connections of the program's pool for a borrower for which there are not enough seats, until it is served: they
// stand for it in that pool, as if the program had used them for the borrower's work. The pool may be all taken, by callers
// that wait for this very borrower. So the borrower does not wait for the pool, but for a physical connection, which it
// also gets when one comes back. One that the pool has kept may have no seat to offer, if the seat is in use by a borrower
// that needed none of its own; then another is taken, as database/sql would do if that borrower had it. One that keeps a
// physical connection, because its session has been changed, lends that if the pool may have no more: a statement would get it
// there on the plain driver, too.
func (p *Pool) ask(ctx context.Context, db *sql.DB, w *waiter) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		w.asking = false
		p.serve()
	}()
	for p.askOnce(ctx, db, w) {
	}
}

// askOnce reports that another is needed.
func (p *Pool) askOnce(ctx context.Context, db *sql.DB, w *waiter) (again bool) {
	if db.Stats().Idle == 0 && isFull(db) { // the callers that have all may be waiting for this very borrower
		p.mu.Lock()
		w.asking = false
		p.serve()
		p.mu.Unlock()
	}
	var c *sql.Conn
	var kept *Conn
	busy := false
	err := engine.Guard(func() (err error) {
		if c, err = db.Conn(ctx); err == nil {
			kept, busy = keptBy(c)
		}
		return err
	})
	if err != nil {
		return false
	}
	full := isFull(db)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case w.stand.over:
		go c.Close() // which may end in Leave
		return false
	case busy && full: // the program needs it to end that transaction
		p.mu.Unlock()
		c.Close()
		pause(ctx)
		p.mu.Lock()
		return !w.done && p.wantsSeats()
	}
	w.stand.conns = append(w.stand.conns, c) // also if the borrower has been served by the seat of this very connection
	if kept != nil && full && !w.done {
		w.grant = grant{conn: kept, stand: w.stand, lent: c}
		p.served(w)
	}
	return !w.done && p.wantsSeats()
}

// pause lets the program use its connection. The program does not say when it has ended a transaction by text.
func pause(ctx context.Context) {
	select {
	case <-time.After(askAgain):
	case <-ctx.Done():
	}
}

const askAgain = 5 * time.Millisecond

// isFull reports that a pool may open no more connections.
func isFull(db *sql.DB) bool {
	s := db.Stats()
	return s.MaxOpenConnections > 0 && s.OpenConnections >= s.MaxOpenConnections
}

// A Keeper is a virtual connection that may keep a physical one while no statement of the program's uses it.
type Keeper interface {
	driver.Conn
	// Kept is the connection that is kept, nil if there is none; busy says that a transaction is open on one.
	Kept() (c *Conn, busy bool)
}

// keptBy is what a connection of the program's pool keeps.
func keptBy(c *sql.Conn) (kept *Conn, busy bool) {
	c.Raw(func(dc any) error {
		if k, ok := engine.Unwrapped[Keeper](dc.(driver.Conn)); ok {
			kept, busy = k.Kept()
		}
		return nil
	})
	return kept, busy
}

// A stand is what stands for a borrower in the program's pool until its lease is over. A nil one is none. The pool's mutex
// guards conns and over.
type stand struct {
	pool  *Pool
	conns []*sql.Conn
	over  bool
	seat  Seat // never open; for a connection that is only for the stand: see reserve
}

// close gives the connections back to the program's pool, which keeps or closes them as it does after any use.
func (s *stand) close() {
	if s == nil {
		return
	}
	s.pool.mu.Lock()
	conns := s.conns
	s.conns, s.over = nil, true
	s.pool.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}
