package pgx

import (
	"context"
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

	head       int           // statements up to the one that names the transaction
	token      token         // names it
	named      bool          // it has been named
	executing  bool          // the requests' turn has come
	began      time.Time     // when it came
	answered   int           // requests that have their result
	members    time.Duration // from began to the last result
	failed     int           // the request that undid the transaction; -1 if it was another statement
	held       bool          // COMMIT is sent when every result is here
	refusal    bool          // a statement has failed, and so everything behind it
	committing bool          // the server may have received COMMIT
	synced     bool          // the server has said everything
	commit     time.Duration // from the last result to the end of COMMIT

	started  time.Time     // when the transaction was sent; zero if what it pays once is not to be known
	written  time.Time     // when all of it was written; zero if COMMIT was not in it
	headTook time.Duration // from the sending to the answer that says that the requests' turn has come
	way      time.Duration // to the server and back: from the end of the writing to that answer
	taken    int           // requests whose time has been taken
	stopped  bool          // the rest has been cancelled, because its text is too slow

	bundled bool // statements may have many rows

	tell bool // in autocommit: each transaction names itself
}

// sendAll sends the requests, and leaves in sent those that were. It returns false if a request that has been claimed could
// not be sent; that request is in sent, too, and so are those behind it.
//
// The answers to the first few requests, and then to ever fewer, are on their way at once, so that a text that has become slow
// is found out before a large group has paid for it. Each time is a write of the server's and a read, so a text that is known has
// fewer: after 4, 16, 128 requests, and not after 1, 2, 4, 8, 64.
func (a *answers) sendAll(ready []request) bool {
	a.sent = ready[:0]
	a.makeRoom(a.pg.PgConn().Frontend(), ready)
	tell, step := 1, 2
	if len(ready) > 0 && ready[0].route.known {
		tell, step = 4, 4
	}
	for i := range ready {
		r := &ready[i]
		sample := r.route.sample
		if sample {
			a.flush()
		}
		switch {
		case a.try(a.p, r, nil):
			a.sent = append(a.sent, *r)
		case r.call.ID() != "":
			a.failed = len(a.sent)
			a.sent = append(a.sent, ready[i:]...)
			return false
		}
		n := len(a.sent)
		if sample || n == tell {
			a.flush()
		}
		if n == tell {
			if tell *= step; tell > enoughSlow+1 { // the first are enough samples
				step = 8
			}
		}
	}
	a.p.SendFlushRequest()
	return true
}

// flush has the server send what it has answered up to the last request that was sent.
func (a *answers) flush() {
	if n := len(a.sent); n > 0 && !a.sent[n-1].flushed {
		a.sent[n-1].flushed = true
		a.p.SendFlushRequest()
	}
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
	now := time.Now()
	if a.headTook = now.Sub(a.started); !a.written.IsZero() {
		a.way = now.Sub(a.written)
	}
	if err == nil {
		a.controlled(nil)
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
		n, err := a.answer(r)
		if err != nil {
			if err == errTooMany || !endsConnection(err) {
				a.failed = i
			}
			return err
		}
		a.sent[i].rows = n
		a.answered = i + 1
		if r.flushed || i == len(a.sent)-1 {
			last = a.heard(i, last)
		}
	}
	a.members = last.Sub(a.began)
	a.watch.executed()
	return nil
}

// heard notes that the requests up to i have been answered, and how long those took that have come since the last time. If
// their text is too slow, it has the server stop.
func (a *answers) heard(i int, last time.Time) (now time.Time) {
	now = time.Now()
	a.watch.hear(now)
	run := a.sent[a.taken : i+1]
	a.taken = i + 1
	if each := now.Sub(last) / time.Duration(len(run)); a.memory.tookAll(run, each, now) && !a.stopped {
		var rest time.Duration
		for _, r := range a.sent[i+1:] {
			if r.query == run[0].query || !r.route.known && !run[0].route.known {
				rest += each
			}
		}
		a.stopped = a.watch.stop(now, rest)
	}
	return now
}

// committed is the outcome of a transaction that the server has committed.
func (a *answers) committed(ctx context.Context, hit bool) engine.Outcome {
	out := a.confirmed(ctx, a.commit+a.way, a.members, hit)
	if !a.started.IsZero() {
		a.memory.paid(a.commit + a.headTook)
		a.memory.tripped(a.headTook)
	}
	return out
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

// answer reads the answer to a request, and answers its call with it. n is the number of rows that it has affected.
func (a *answers) answer(r request) (n int64, err error) {
	if !r.call.WantsRows() {
		if n, _, err = a.next(false); err == nil {
			r.call.Answer(result(n), nil)
		}
		return n, err
	}
	a.rows.began = false
	res, err := nextResult(a.p)
	if err == nil {
		n, err = a.rows.read(a.pg.TypeMap(), r.call, res, a.held)
	}
	return n, err
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
