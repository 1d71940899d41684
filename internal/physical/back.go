package physical

import (
	"context"
	"errors"
)

// How a connection comes back, and whether it is kept.

// unused counts a connection that is in use no longer.
func (p *Pool) unused(purpose Purpose) {
	p.inUse--
	if purpose == PutOff {
		p.putOff--
	}
}

// put takes a connection back whose lease is over. valid says that it may be used again.
func (p *Pool) put(c *Conn, purpose Purpose, seat *Seat, valid, wrote bool, opener context.Context) {
	p.mu.Lock()
	p.unused(purpose)
	p.refusal.moved()
	if !valid || !p.mayKeep(c) || !p.reserve(c, seat, opener) {
		p.closing++
		p.mu.Unlock()
		p.close(c)
		return
	}
	c.wrote = wrote
	p.idle = append(p.idle, c)
	p.serve()
	p.mu.Unlock()
}

// mayKeep reports that a connection may be idle. p.mu is held.
func (p *Pool) mayKeep(c *Conn) bool {
	switch {
	case p.closed, p.lent:
		return false
	case p.single:
		return true
	case p.open-p.closing > max(p.seats.kept(), p.least):
		p.counted.MaxIdleClosed++
		return false
	case p.stale(c):
		p.counted.MaxLifetimeClosed++
		return false
	}
	return true
}

// reserve decides who may use an idle connection next. p.mu is held.
//
// A program whose pool keeps no connection, by SetMaxIdleConns(0), wants each use to open one: if another library's pool
// lies below, its hooks see the caller for which each is taken. So while the program's pool has not been seen to keep a
// connection, an idle one is only for the virtual connection that has used it, with which it is closed, and that of the
// caller that has opened the database only for that caller. A connection of any other lease is not kept then.
func (p *Pool) reserve(c *Conn, seat *Seat, opener context.Context) (ok bool) {
	c.seat, c.opener = nil, nil
	if p.keeps.Load() || p.single || p.least > 0 {
		return true
	}
	c.seat, c.opener = seat, opener
	return seat != nil || opener != nil
}

// dropFor closes what is idle for a seat alone.
func (p *Pool) dropFor(s *Seat) {
	p.mu.Lock()
	out := p.takeOf(s)
	p.closing += len(out)
	p.mu.Unlock()
	if len(out) > 0 {
		p.close(out...)
	}
}

// close closes connections that are counted as closing.
func (p *Pool) close(conns ...*Conn) error {
	err := closeAll(conns)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone(len(conns))
	return err
}

func closeAll(conns []*Conn) (err error) {
	for _, c := range conns {
		err = errors.Join(err, c.Close())
	}
	return err
}

// gone counts connections that are closed. p.mu is held.
func (p *Pool) gone(n int) {
	p.open -= n
	p.closing -= n
	p.serve()
}
