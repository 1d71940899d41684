// Package physical holds the physical connections of one database, which the wrapped driver has opened. It does not know
// groups, promises, or the pooled connections of the program.
package physical

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync/atomic"
	"time"
)

// A Pool holds the physical connections of one database. It is an ordinary sql.DB over the wrapped connector: lifetimes,
// resets and the replacing of stale connections are database/sql's own, and the next borrower gets the connection that was
// used last. So a program that does one thing at a time has one connection, as on the plain driver, with whatever it, a
// hook or a PRAGMA has put there.
//
// Beside others the connection that wrote last should be the one to write next: its page cache is that of the database as
// it is, and its statements are prepared. So while others are at work it is kept aside, warm, for the next writer. It goes
// back as soon as no connection is in use, and a reader takes it before a new one is opened.
//
// Rejected: a second pool for the groups. A program with one connection then has two, and what the one knows (a temporary
// table, an attached database, a setting, the schema that has just been changed) the other does not.
type Pool struct {
	*sql.DB
	shared   *shared
	warm     warm
	retained retained
	busy     atomic.Int64 // borrowers that have a connection, or wait for one

	lent       bool // connections are another pool's; written once, with openWrites
	openWrites bool // a connection is opened in the writer's turn, which a borrower that will write has; written once
}

// idleConns is how many connections are kept for the next borrower. database/sql's own default of 2 would open and close one
// for almost every query of a busy program.
const idleConns = 8

// New makes a pool. It opens no connection.
func New(c Config) *Pool {
	s := &shared{config: c}
	p := &Pool{DB: sql.OpenDB(connector{c.Connector, s}), shared: s}
	if c.SetUp != nil {
		p.SetMaxIdleConns(idleConns)
		c.SetUp(p.DB)
		p.retained.known.Store(true)
	} else {
		p.SetMaxIdleConns(-1)
	}
	return p
}

// What is learned of the database from its first connection, before there is a second one.

// OpenInTurn says that a new connection may write while it is being opened, and is opened in the writer's turn.
func (p *Pool) OpenInTurn() { p.openWrites = true }

// OnlyOne makes the pool keep to its one connection, in which the database lives.
func (p *Pool) OnlyOne() {
	p.retained.known.Store(true)
	p.SetMaxOpenConns(1)
	p.SetMaxIdleConns(1)
	p.SetConnMaxLifetime(0)
	p.SetConnMaxIdleTime(0)
}

// KeepWarm lets connections be kept for so many writers at a time. Where the number of connections is bounded none is kept: a
// borrower may be waiting for it.
func (p *Pool) KeepWarm(writers int) {
	p.warm.mu.Lock()
	defer p.warm.mu.Unlock()
	if p.Stats().MaxOpenConnections == 0 {
		p.warm.most = writers
	}
}

// KeepNone makes the pool keep no connection, whatever the program's own pool keeps. Each connection belongs to another
// pool, whose hooks must see the caller for which it is taken.
func (p *Pool) KeepNone() {
	p.lent = true
	p.retained.known.Store(true)
	p.SetMaxIdleConns(-1)
	p.KeepWarm(0)
}

// Borrow waits for a connection, for writing or not, under the context of the caller that needs it: hooks of the program's
// see that. A stale connection is replaced.
func (p *Pool) Borrow(ctx context.Context, writing bool) (l Lease, err error) {
	p.busy.Add(1)
	defer func() { // also after a panic in a hook of the program's
		if l.Conn == nil {
			p.left()
		}
	}()
	if p.warm.n.Load() > 0 && (writing || p.Stats().Idle == 0) {
		if l, ok := p.takeWarm(ctx); ok {
			return l, nil
		}
	}
	l = Lease{pool: p, since: time.Now()}
	if writing && p.openWrites {
		ctx = InTurn(ctx)
	}
	if l.pooled, err = p.DB.Conn(ctx); err != nil {
		return Lease{}, err
	}
	var got *Conn // and not a field of l, which would then have to be allocated
	err = l.pooled.Raw(func(dc any) error {
		got = dc.(*Conn)
		got.dropClosed()
		return got.unset
	})
	if err != nil {
		l.pooled.Close()
		return Lease{}, err
	}
	l.Conn = got
	return l, nil
}

// takeWarm takes a connection that is kept warm, if there is one for this context and it is not stale.
func (p *Pool) takeWarm(ctx context.Context) (l Lease, ok bool) {
	if l, ok = p.warm.take(ctx); !ok {
		return l, false
	}
	c := l.Conn
	c.dropClosed()
	if !c.IsValid() || errors.Is(c.ResetSession(ctx), driver.ErrBadConn) || c.unset != nil {
		l.drop()
		return Lease{}, false
	}
	return l, true
}

// left is called when a borrower no longer needs a connection. After the last one, no connection is warm.
func (p *Pool) left() {
	if p.busy.Add(-1) == 0 {
		p.warm.coolAll()
	}
}

// StmtOpened is called where the driver uses statements by their text, when the program has prepared one.
func (p *Pool) StmtOpened(query string) { p.shared.stmts.open(query) }

// StmtClosed is called when the program has closed a statement. It reports whether there is still another one of the text.
func (p *Pool) StmtClosed(query string) (another bool) { return p.shared.stmts.close(query) }

// Renew marks all open connections as stale: none of them is used again.
func (p *Pool) Renew() { p.shared.generation.Add(1) }

// CloseIdle closes the idle connections, as the program's pool has closed its own. How that keeps them is learned anew.
func (p *Pool) CloseIdle() {
	p.warm.coolAll()
	if p.shared.config.SetUp == nil && !p.lent {
		p.retained.known.Store(false)
		p.SetMaxIdleConns(-1)
	}
}

// Close closes the idle connections. Those in use are closed when they come back.
func (p *Pool) Close() error {
	p.warm.coolAll()
	return p.DB.Close()
}
