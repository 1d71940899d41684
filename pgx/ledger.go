package pgx

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"slices"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/record"
)

// ledgered is transaction for requests of which some have ids. It is sent in three pieces:
//
//	[ROLLBACK] BEGIN SET CONSTRAINTS head Flush claim Flush
//	[replays] request... Flush
//	[correction] COMMIT Sync
//
// The claim writes a row for each id, with the expected outcome: one row affected. No other transaction sees the row before
// the commit. It is corrected only if the outcome was another, or came late. A call is not executed if its id is there
// already: a statement after the claim reads the id's record, and sees the rows that the claim ran into. All ids are claimed
// before anything else is locked, and in their order. So two groups with the same ids wait for each other, but not in a
// circle.
//
// Every result is here before COMMIT is sent. If the connection is lost before that, it is certain that nothing was
// committed.
//
// Where a statement of ours fails the culprit is -1: the requests with ids must not come again.
func (s *session) ledgered(ctx context.Context, requests []request) (out engine.Outcome, sent []request, culprit int) {
	if err := s.deallocate(ctx); err != nil {
		return s.refused(ctx, err), nil, -1
	}
	claim, err := s.describe(ctx, record.PostgresClaim, false)
	if err != nil && asPg(err) != nil && !s.pg.IsClosed() {
		return engine.Outcome{Verdict: engine.RolledBack, Broken: s.ended}, requests, -1
	}
	ready := requests
	if err == nil {
		ready, err = s.prepare(ctx, requests)
	}
	if err != nil {
		return s.refused(ctx, err), nil, -1
	}
	ready, c := claimsOf(ready)
	p := s.pg.PgConn().StartPipeline(ctx)
	s.watch.begin("")
	head := s.sendBegin(p)
	p.SendFlushRequest() // the claim may wait for a lock, and the watch must know the transaction before
	sendPrepared(p, claim, record.PostgresClaim, c.params())
	claimed := time.Now()
	a := answers{session: s, p: p, sent: ready, token: token{server: s.server}, failed: -1}
	err = a.readClaim(head, c)
	if err == nil {
		err = a.executeClaimed(ready, c)
	}
	committing := err == nil
	switch {
	case committing:
		err = a.recordAndCommit(claimed)
	case err == errNotSent || !endsConnection(err):
		if lost := p.Sync(); lost != nil {
			err = lost
		} else {
			a.drain()
		}
	}
	closeErr := p.Close()
	hit := s.watch.end(ctx)
	switch {
	case err == nil && closeErr == nil:
		return a.committed(ctx, hit), a.sent, -1
	case a.synced:
		if a.failed < 0 {
			s.invalidate(record.PostgresClaim, err)
		}
		return a.undone(err)
	}
	return a.lost(ctx, committing, cmp.Or(err, closeErr)), a.sent, -1
}

// lost is the outcome of a transaction that lost its connection by err.
func (a *answers) lost(ctx context.Context, committing bool, err error) engine.Outcome {
	a.ended = true
	switch {
	case a.failed >= 0:
		return engine.Outcome{Verdict: engine.Refused, Err: driver.ErrBadConn, Broken: true}
	case committing:
		return a.unknown(err)
	case ctx.Err() != nil || lastWords(err): // one call took all the time, or ended the connection, or the claim did
		if a.executing && a.answered < len(a.sent) {
			a.stuck = a.sent[a.answered].call
		}
		return engine.Outcome{Verdict: engine.RolledBack, Broken: true}
	}
	out := a.refused(ctx, err)
	out.Broken = true
	return out
}

// claims are the ids of a transaction.
type claims struct {
	ids     []string
	keys    []durable.Key
	claimed map[string]bool
}

// claimsOf returns the claims of requests, and the requests. An id that comes twice is put off the second time.
func claimsOf(requests []request) ([]request, *claims) {
	c := &claims{claimed: make(map[string]bool)}
	once := make(map[string]bool)
	kept := requests[:0]
	for _, r := range requests {
		if id := r.call.ID(); id != "" {
			if once[id] {
				r.call.PutOff()
				continue
			}
			once[id] = true
			c.ids = append(c.ids, id)
			c.keys = append(c.keys, r.call.Fingerprint())
		}
		kept = append(kept, r)
	}
	return kept, c
}

func (c *claims) params() [][]byte {
	return record.PostgresRows(c.ids, c.keys, durable.Resolved, "", expected)
}

// readClaim sends the head and the claim and reads their answers.
func (a *answers) readClaim(head int, c *claims) error {
	a.p.SendFlushRequest()
	if err := a.p.Flush(); err != nil {
		return err
	}
	if err := a.readHead(head); err != nil {
		return err
	}
	a.wire.failed = false
	_, ids, err := a.next(true)
	for _, id := range ids {
		c.claimed[string(id)] = true
	}
	return err
}

// errNotSent ends a transaction that has claimed the id of a request which cannot be sent after all.
var errNotSent = errors.New("groupcommit/pgx: a request that was claimed could not be sent")

// executeClaimed answers requests from the ledger if it has their ids. It has the others executed, and reads their answers.
func (a *answers) executeClaimed(ready []request, c *claims) error {
	var replays, fresh []request
	var ids []string
	for _, r := range ready {
		if id := r.call.ID(); id == "" || c.claimed[id] {
			fresh = append(fresh, r)
		} else {
			replays, ids = append(replays, r), append(ids, id)
		}
	}
	if len(replays) > 0 {
		sendPrepared(a.p, nil, record.PostgresRead, record.PostgresIDs(ids))
	}
	ok := a.sendAll(fresh)
	if err := a.p.Flush(); err != nil {
		return err
	}
	if len(replays) > 0 {
		_, values, err := a.next(true)
		if err != nil {
			putOff(replays)
			return err
		}
		replay(replays, values)
	}
	if !ok {
		return errNotSent
	}
	a.executing, a.began = true, time.Now()
	a.watch.hear(a.began)
	return a.readResults()
}

// replay answers requests with their records. A request is put off if its row has been deleted since the claim.
func replay(requests []request, values [][]byte) {
	found := make(map[string]durable.Promise)
	for row := range slices.Chunk(values, 4) {
		p := record.PostgresPromise(string(row[0]), string(row[1]), string(row[2]), string(row[3]))
		found[p.ID] = p
	}
	for _, r := range requests {
		if p, ok := found[r.call.ID()]; ok {
			r.call.Answer(r.call.Replay(p))
		} else {
			r.call.PutOff()
		}
	}
}

// recordAndCommit corrects the records of outcomes that were not the expected one, or came late, and commits.
func (a *answers) recordAndCommit(claimed time.Time) error {
	late := record.Late(claimed)
	var ids []string
	var values [][]byte
	for _, r := range a.sent {
		if r.call.ID() != "" && (late || r.rows != expectedRows) {
			ids = append(ids, r.call.ID())
			values = append(values, valueOf(r.rows))
		}
	}
	if len(ids) > 0 {
		sendPrepared(a.p, nil, record.PostgresCorrect, record.PostgresCorrections(ids, values))
	}
	start := time.Now()
	sendText(a.p, "COMMIT")
	err := a.p.Sync()
	if err == nil && len(ids) > 0 {
		_, _, err = a.next(false)
	}
	if err == nil {
		err = a.readCommit(start)
	}
	if err != nil && !a.synced && !endsConnection(err) {
		a.drain()
	}
	return err
}

// expectedRows is the number of affected rows that a claim records.
const expectedRows = 1

var expected = valueOf(expectedRows)

// valueOf is the value of a promise whose call affected so many rows.
func valueOf(rows int64) []byte { return record.Outcome{Rows: rows, HasRows: true}.Append(nil) }
