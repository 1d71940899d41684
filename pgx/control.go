package pgx

import (
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// controls are the statements around the requests of a group, which are the same each time. Where the mode is to prepare statements, the
// first group of a connection prepares them, in the write in which it sends them:
//
//	close… parse BEGIN | BEGIN | parse… | SET CONSTRAINTS head … COMMIT
//
// A group pays them once, and parsing them is a good part of that. Behind a pooler another server may come next, so there they are sent as
// texts. So they are on a connection whose server has forgotten them, as the program may have had it do.
type controls uint8

const (
	notNamed controls = iota
	naming            // by the group that is under way
	named
	texts // for good
)

// The names are ours, as those of the requests are.
const (
	nameOfBegin, textOfBegin   = "groupcommit_begin", "BEGIN"
	nameOfCheck, textOfCheck   = "groupcommit_check", "SET CONSTRAINTS ALL IMMEDIATE"
	nameOfCommit, textOfCommit = "groupcommit_commit", "COMMIT"
	nameOfHead                 = "groupcommit_head"
)

// sendControls sends the statements that begin a group, and returns how many answers come before that of the last one.
func (s *session) sendControls(p *pgconn.Pipeline) (before int) {
	switch {
	case s.controls == named, s.controls == texts:
	case s.mode == pgx.QueryExecModeCacheStatement && s.direct():
		s.controls = naming
		for _, name := range []string{nameOfBegin, nameOfCheck, nameOfHead, nameOfCommit} {
			p.SendDeallocate(name) // another group of this connection, by another sql.DB over the same pool, may have left it, or one whose answers were not read
		}
		p.SendPrepare(nameOfBegin, textOfBegin, nil)
		before = 5
	default:
		s.controls = texts
	}
	s.sendControl(p, nameOfBegin, textOfBegin)
	if s.controls == naming {
		p.SendPrepare(nameOfCheck, textOfCheck, nil)
		p.SendPrepare(nameOfHead, s.server.head, nil)
		p.SendPrepare(nameOfCommit, textOfCommit, nil)
		before += 3
	}
	s.sendControl(p, nameOfCheck, textOfCheck)
	s.sendControl(p, nameOfHead, s.server.head)
	return before + 2
}

// sendControl sends one of them.
func (s *session) sendControl(p *pgconn.Pipeline, name, text string) {
	if s.controls == texts {
		sendText(p, text)
	} else {
		p.SendQueryPrepared(name, nil, nil, nil)
	}
}

// controlled notes that the first of them were executed, or that a statement of ours has failed by err.
func (s *session) controlled(err error) {
	pg := asPg(err)
	switch {
	case err == nil && s.controls == naming:
		s.controls = named
	case s.controls == naming, pg != nil && pg.Code == "26000": // invalid_sql_statement_name
		s.controls = texts
	}
}
