package pgx

import (
	"errors"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/jackc/pgx/v5/pgconn"
)

// answers reads the server's answers to one pipeline.
type answers struct {
	*session
	p    *pgconn.Pipeline
	sent []request

	token     token
	began     time.Time     // when the requests' turn came; from readResults on, when the last one was here
	executing bool          // in ledgered: their turn has come
	tell      bool          // in autocommit: each transaction names itself
	answered  int           // requests that have their result
	failed    int           // the request that undid the transaction; -1 if it was another statement
	synced    bool          // the server has said everything
	commit    time.Duration // from the last result to the end of COMMIT
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

// readHead reads the answers to the first statements of a transaction. The head's is the last of them.
func (a *answers) readHead(statements int) error {
	for range statements - 1 {
		if _, _, err := a.next(false); err != nil {
			return err
		}
	}
	row, err := a.watch.named(a.p)
	a.began = time.Now()
	if err == nil {
		a.token.xid = string(row[0])
	}
	return err
}

// readAll reads the requests' answers up to the server's last word. nil says that everything was committed.
func (a *answers) readAll() error {
	err := a.readResults()
	if err == nil {
		err = a.readCommit(a.began)
	}
	if err != nil && !a.synced {
		a.drain()
	}
	return err
}

// readResults reads the requests' answers.
func (a *answers) readResults() error {
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
	a.wire.members = last.Sub(a.began)
	a.began = last
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

// undone is the end of a transaction that the server has rolled back for err. The culprit is a request, or -1.
func (a *answers) undone(err error) (out engine.Outcome, sent []request, culprit int) {
	a.wire.failed = a.pg.PgConn().TxStatus() != 'I'
	if a.failed >= 0 {
		a.invalidate(a.sent[a.failed].query, err)
		if a.ended {
			a.stuck = a.sent[a.failed].call
		}
	}
	return engine.Outcome{Verdict: engine.RolledBack, Broken: a.ended}, a.sent, a.failed
}

// unknown is the outcome of a transaction whose answer to COMMIT was lost.
func (a *answers) unknown(err error) engine.Outcome {
	out := engine.Outcome{Verdict: engine.Unknown, Err: err, Broken: true}
	if a.token.xid != "" {
		out.Token = a.token
	}
	return out
}

func (a *answers) next(wanted bool) (n int64, row [][]byte, err error) {
	return readAnswer(a.p, wanted)
}

// drain reads on after an error up to the server's last word, if it comes.
func (a *answers) drain() { a.synced = readSync(a.p) == nil }
