package pgtest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// A pool hands a server's databases on from one test to the next. To make a database takes a quarter of a second, to
// empty one a fiftieth.
//
// Three things keep a test from what another one has left:
//
//   - All connections of the earlier test are ended, and the database gets another name. A client that comes late is
//     told that there is no such database.
//   - The schemas are dropped with all that is in them, and public is made anew.
//   - Then the rows of all catalogs are counted. Whatever a statement can leave in a database (an extension, an event
//     trigger, a large object, a remark or a right on something of PostgreSQL's own, a setting) is a row more, a row
//     less or a row with a younger version. A database that differs in this from a new one is dropped.
//
// What belongs to the whole server (roles, ALTER SYSTEM) is out of the pool's reach, as it is of DROP DATABASE's.
type pool struct {
	server *Server

	mu   sync.Mutex
	free []string   // databases that are as new; guarded by mu
	idle []*session // in the server's own database; guarded by mu

	once   sync.Once // guards what follows, which is written once
	err    error
	census string // the query that counts rows
	asNew  string // what it answers in a database that is as new
}

// take gives a database of this name that is as new.
func (p *pool) take(name string) error {
	if p.once.Do(func() { p.err = p.learn() }); p.err != nil {
		return p.err
	}
	if spare, ok := p.spare(); ok {
		if p.rename(spare, name) == nil {
			return nil
		}
		if err := p.server.DropDatabase(spare); err != nil {
			return err
		}
	}
	_, err := p.server.NewDatabase(name)
	return err
}

// spare takes the database out that came first: its last connection has had the most time to end.
func (p *pool) spare() (name string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) == 0 {
		return "", false
	}
	name, p.free = p.free[0], p.free[1:]
	return name, true
}

// give takes a database back, for another test if it can be made as new. If it cannot, it is dropped, and the error
// says why not.
func (p *pool) give(name string) error {
	spare := databaseName("spare")
	if err := p.rename(name, spare); err != nil {
		return errors.Join(err, p.server.DropDatabase(name))
	}
	if err := p.renew(spare); err != nil {
		return errors.Join(err, p.server.DropDatabase(spare))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, spare)
	return nil
}

// mostIdle is how many sessions a pool keeps. Each new one costs the server a process.
const mostIdle = 4

// rename ends the connections to a database and gives it another name.
func (p *pool) rename(from, to string) (err error) {
	s, err := p.session()
	if err != nil {
		return err
	}
	defer func() { p.release(s, err == nil) }()
	for {
		// ALTER DATABASE waits for them too, but looks ten times a second only.
		others, err := s.text("SELECT nullif(count(pg_terminate_backend(pid)), 0)::text FROM pg_stat_activity WHERE datname = '" + from + "'")
		if err != nil {
			return err
		}
		if others == "" {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return s.exec("ALTER DATABASE " + quote(from) + " RENAME TO " + quote(to))
}

// session is one in the server's own database, which release takes back.
func (p *pool) session() (*session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		s := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return s, nil
	}
	return p.server.session(p.server.address.database)
}

func (p *pool) release(s *session, good bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if good && len(p.idle) < mostIdle {
		p.idle = append(p.idle, s)
	} else {
		s.close()
	}
}

// renew makes a database as new. Its error says in what it differs from a new one.
func (p *pool) renew(name string) error {
	s, err := p.server.session(name)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.exec(newPublic); err != nil {
		return err
	}
	rows, err := s.text(p.census)
	if err != nil || rows == p.asNew {
		return err
	}
	var differ []string
	for is, new := strings.Split(rows, ", "), strings.Split(p.asNew, ", "); len(is) > 0 && len(new) > 0; is, new = is[1:], new[1:] {
		if is[0] != new[0] {
			differ = append(differ, is[0]+" and not "+new[0])
		}
	}
	return fmt.Errorf("pgtest: the database is dropped; its catalogs have (all rows, younger ones) %s", strings.Join(differ, ", "))
}

// learn makes a database and finds out what is in it when it is new.
func (p *pool) learn() error {
	name := databaseName("spare")
	if _, err := p.server.NewDatabase(name); err != nil {
		return err
	}
	s, err := p.server.session(name)
	if err != nil {
		return err
	}
	defer s.close()
	var was, is, born string
	if err := inTurn(
		func() (err error) { was, err = s.text(public); return err },
		func() (err error) { born, err = s.text("SELECT txid_current()::text"); return err },
		func() error { return s.exec(newPublic) },
		func() (err error) { is, err = s.text(public); return err },
		func() (err error) { p.census, err = s.text(strings.ReplaceAll(makeCensus, "BORN", born)); return err },
		func() (err error) { p.asNew, err = s.text(p.census); return err },
	); err != nil {
		return err
	}
	if is != was {
		return fmt.Errorf("pgtest: the schema public is made anew as %q, and is %q in a new database", is, was)
	}
	p.free = append(p.free, name)
	return nil
}
