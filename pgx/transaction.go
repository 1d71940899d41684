package pgx

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/jackc/pgx/v5/pgconn"
)

// transaction commits the requests in one transaction, which is sent in two pieces:
//
//	[ROLLBACK] BEGIN SET CONSTRAINTS head Flush request... Flush
//	COMMIT Sync
//
// The head names the transaction, and COMMIT is not sent before its name is known: so whoever loses the answer to COMMIT
// knows what to ask for, and whoever loses the connection earlier knows that nothing was committed. The name is here
// while the server is still executing the requests, and COMMIT is there before it has done with them; so all that is
// paid for it is one more write.
//
// The second Flush has the results on their way while the server is writing its log.
//
// Rejected: one Sync without BEGIN. It needs no ROLLBACK after an error, but SET CONSTRAINTS then gives a warning
// each time, which lands in the server's log; and the name could not be waited for.
//
// sent are the requests that it held: the others have been put off or answered, and must not come again. culprit is the
// one of them whose error undid the transaction, or -1.
func (s *session) transaction(ctx context.Context, requests []request) (out engine.Outcome, sent []request, culprit int) {
	ready, err := s.prepare(ctx, requests)
	if err != nil {
		return s.refused(ctx, err), nil, -1
	}
	p := s.pg.PgConn().StartPipeline(ctx)
	s.watch.begin("")
	head := s.begin(p)
	p.SendFlushRequest()
	a := answers{session: s, p: p, token: token{server: s.server}, failed: -1}
	a.send(ready)
	sent = a.sent
	err = p.Flush()
	if err == nil {
		err = a.head(head)
	}
	if err != nil && endsConnection(err) {
		s.ended = true
		p.Close()
		s.watch.end(ctx)
		return s.refused(ctx, err), nil, -1
	}
	s.failed = false
	sendText(p, "COMMIT")
	syncErr := p.Sync()
	switch {
	case syncErr != nil:
		err = syncErr
	case err != nil:
		a.drain(err)
	default:
		err = a.read()
	}
	closeErr := p.Close()
	hit := s.watch.end(ctx)
	switch {
	case err == nil && closeErr == nil:
		return s.committed(ctx, a.commit, hit), sent, -1
	case a.synced:
		s.failed = s.pg.PgConn().TxStatus() != 'I'
		out = engine.Outcome{Verdict: engine.RolledBack, Broken: s.ended}
		if a.failed < 0 {
			return out, sent, -1
		}
		s.invalidate(sent[a.failed].query, err)
		if s.ended {
			s.stuck = sent[a.failed].call
		}
		return out, sent, a.failed
	case s.direct() && ended(err) && a.answered < len(sent): // before the server came to COMMIT
		s.ended, s.stuck = true, sent[a.answered].call
		return engine.Outcome{Verdict: engine.RolledBack, Broken: true}, sent, -1
	}
	if a.failed >= 0 { // undone for certain, whatever came after; its error is nobody else's
		s.ended = true
		return engine.Outcome{Verdict: engine.Refused, Err: driver.ErrBadConn, Broken: true}, sent, -1
	}
	// The connection is gone, and COMMIT may have been received. What was committed has no result that did not arrive.
	s.ended = true
	for _, r := range a.sent[a.answered:] {
		r.call.Answer(lostResult{}, nil)
	}
	out = engine.Outcome{Verdict: engine.Unknown, Err: cmp.Or(err, closeErr), Broken: true}
	if a.token.xid != "" {
		out.Token = a.token
	}
	if a.failed < 0 && a.answered < len(sent) {
		s.stuck = sent[a.answered].call
	}
	return out, sent, -1
}

// committed is the outcome of a transaction that the server has committed, perhaps in spite of a cancel.
func (s *session) committed(ctx context.Context, took time.Duration, hit bool) engine.Outcome {
	if hit {
		if err := s.confirm(ctx); err != nil {
			return engine.Outcome{Verdict: engine.Unknown, Culprit: -1, Err: err, Broken: true}
		}
	}
	return engine.Outcome{Commit: took}
}

// begin sends what every transaction begins with, and returns how many statements that is.
func (s *session) begin(p *pgconn.Pipeline) (head int) {
	texts := []string{"BEGIN", "SET CONSTRAINTS ALL IMMEDIATE", s.server.head}
	if s.failed {
		texts = append([]string{"ROLLBACK"}, texts...)
	}
	for _, text := range texts {
		sendText(p, text)
	}
	return len(texts)
}

// sendText sends a statement without parameters.
func sendText(p *pgconn.Pipeline, query string) { p.SendQueryParams(query, nil, nil, nil, nil) }

// answers are what the server says to one transaction.
type answers struct {
	*session
	p    *pgconn.Pipeline
	sent []request

	token     token
	began     time.Time     // when the requests' turn came; from results on, when the last one was here
	executing bool          // in ledgered: their turn has come
	tell      bool          // in each: each transaction tells who executes it
	answered  int           // requests that have their result
	failed    int           // the request that undid the transaction; -1 if it was another statement
	synced    bool          // the server has said everything
	commit    time.Duration // from the last result to the end of COMMIT
}

// send sends the requests, and leaves in sent those that were. False: one that has been claimed could not be sent; it is in
// sent, too, and so are those behind it.
func (a *answers) send(ready []request) bool {
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

// head reads the answers up to the head's, which is the last of so many.
func (a *answers) head(head int) error {
	for range head - 1 {
		if _, _, err := a.next(false); err != nil {
			return err
		}
	}
	row, err := a.named()
	a.began = time.Now()
	if err == nil {
		a.token.xid = string(row[0])
	}
	return err
}

// named reads the answer to a statement that ends with thisTransaction.
func (a *answers) named() (row [][]byte, err error) {
	_, row, err = a.next(true)
	if n := len(row); err == nil {
		a.watch.aim(at(string(row[n-2]), string(row[n-1])), time.Now())
	}
	return row, err
}

// read reads the requests' answers up to the server's last word. nil says that everything was committed.
func (a *answers) read() error {
	err := a.results()
	if err == nil {
		err = a.committed(a.began)
	}
	if err != nil && !a.synced {
		a.drain(err)
	}
	return err
}

// results reads the requests' answers.
func (a *answers) results() error {
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
		now := time.Now()
		a.watch.hear(now)
		if r.sample {
			a.memory.took(r.query, now.Sub(last), now)
		}
		last = now
	}
	a.began = last
	a.watch.executed()
	return nil
}

// committed reads COMMIT's answer and the server's last word.
func (a *answers) committed(since time.Time) error {
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

var errSynced = errors.New("the server has said everything")

// next reads one statement's answer: how many rows it affected, and its row if that is wanted.
func (a *answers) next(wanted bool) (n int64, row [][]byte, err error) {
	res, err := a.p.GetResults()
	if err != nil {
		return 0, nil, err
	}
	switch r := res.(type) {
	case *pgconn.ResultReader:
		if wanted {
			for r.NextRow() {
				for _, v := range r.Values() {
					row = append(row, append([]byte(nil), v...))
				}
			}
		}
		tag, err := r.Close()
		return tag.RowsAffected(), row, err
	case *pgconn.PipelineSync:
		return 0, nil, errSynced
	}
	return 0, nil, errNoAnswer
}

var errNoAnswer = errors.New("groupcommit/pgx: the server has stopped answering in the middle of a group")

// drain reads on after an error up to the server's last word, if it comes.
func (a *answers) drain(first error) error {
	for {
		switch _, _, err := a.next(false); {
		case errors.Is(err, errSynced):
			a.synced = true
			return first
		case err != nil && endsConnection(err):
			return first
		}
	}
}
