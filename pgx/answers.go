package pgx

import (
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// answers reads the server's answers to one pipeline.
type answers struct {
	*session
	p    *pgconn.Pipeline
	sent []request

	head       int           // statements up to the one that names the transaction
	token      token         // names it
	named      bool          // it has been named
	executing  bool          // the requests' turn has come
	began      time.Time     // when it came
	answered   int           // requests that have their result
	members    time.Duration // from began to the last result
	failed     int           // the request that undid the transaction; -1 if it was another statement
	refusal    bool          // a statement has failed, and so everything behind it
	committing bool          // the server may have received COMMIT
	synced     bool          // the server has said everything
	commit     time.Duration // from the last result to the end of COMMIT

	tell bool // in autocommit: each transaction names itself
}

// sendAll sends the requests, and leaves in sent those that were. It returns false if a request that has been claimed could
// not be sent; that request is in sent, too, and so are those behind it.
func (a *answers) sendAll(ready []request) bool {
	a.sent = ready[:0]
	before := true // the request before was a sample
	for i, r := range ready {
		if r.sample && !before {
			a.p.SendFlushRequest()
		}
		switch {
		case a.try(a.p, r, nil):
			a.sent = append(a.sent, r)
		case r.call.ID() != "":
			a.failed = len(a.sent)
			a.sent = append(a.sent, ready[i:]...)
			return false
		}
		if r.sample {
			a.p.SendFlushRequest()
		}
		before = r.sample
	}
	a.p.SendFlushRequest()
	return true
}

// readAll reads the answers of a transaction up to the server's last word. nil says that everything was committed.
func (a *answers) readAll() error {
	err := a.readHead()
	if err == nil {
		err = a.readResults()
	}
	if err == nil {
		err = a.readCommit(a.began.Add(a.members))
	}
	a.drain(err)
	return err
}

// readHead reads the answers to the first statements of a transaction. The head's is the last of them.
func (a *answers) readHead() error {
	for range a.head {
		if _, _, err := a.next(false); err != nil {
			return err
		}
	}
	a.wire.failed = false
	row, err := a.watch.named(a.p)
	if err == nil {
		a.named, a.token.xid = true, string(row[0])
	}
	return err
}

// readResults reads the requests' answers. Their turn has come.
func (a *answers) readResults() error {
	a.executing, a.began = true, time.Now()
	a.watch.hear(a.began)
	last := a.began
	for i, r := range a.sent {
		n, _, err := a.next(false)
		if err != nil {
			if !endsConnection(err) {
				a.failed = i
			}
			return err
		}
		r.call.Answer(result(n), nil)
		a.sent[i].rows = n
		a.answered = i + 1
		last = a.heard(r, last)
	}
	a.members = last.Sub(a.began)
	a.watch.executed()
	return nil
}

// heard notes that a request has been answered, and how long that took since the last one.
func (a *answers) heard(r request, last time.Time) (now time.Time) {
	now = time.Now()
	a.watch.hear(now)
	if r.sample {
		a.memory.took(r.query, now.Sub(last), now)
	}
	return now
}

// readCommit reads COMMIT's answer and the server's last word.
func (a *answers) readCommit(since time.Time) error {
	if _, _, err := a.next(false); err != nil {
		return err
	}
	a.commit = time.Since(since)
	_, _, err := a.next(false)
	a.synced = errors.Is(err, errSynced)
	if a.synced {
		return nil
	}
	return err
}

func (a *answers) next(wanted bool) (n int64, row [][]byte, err error) {
	return readAnswer(a.p, wanted)
}

// drain reads on up to the server's last word, if a statement has failed by err.
func (a *answers) drain(err error) {
	if err != nil && !a.synced && !endsConnection(err) {
		a.refusal = true
		a.synced = readSync(a.p) == nil
	}
}
