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
	"github.com/jackc/pgx/v5/pgconn"
)

// ledgered is transaction for requests of which some have ids. It is sent in three pieces:
//
//	[ROLLBACK] BEGIN SET CONSTRAINTS head Flush claim Flush
//	[replays] request... Flush
//	[correction] COMMIT Sync
//
// The claim writes a row for each id, with the outcome that is expected: one row affected. Nobody sees it before the
// commit, and it is corrected only where the outcome was another, or came late. An id that is there already is not executed: what is
// recorded of it is read by a statement after the claim, which sees what the claim ran into. All ids are claimed before
// anything else is locked, and in their order: so two groups with the same ids wait for each other, but not in a circle.
//
// Every result is here before COMMIT is sent. Whoever loses the connection before that knows that nothing was committed.
//
// Where a statement of ours fails the culprit is -1: the requests with ids must not come again.
func (s *session) ledgered(ctx context.Context, requests []request) (out engine.Outcome, sent []request, culprit int) {
	undone := engine.Outcome{Verdict: engine.RolledBack, Culprit: -1}
	if err := s.deallocate(ctx); err != nil {
		return s.refused(ctx, err), nil, -1
	}
	claim, err := s.describe(ctx, record.PostgresClaim, false)
	if err != nil && asPg(err) != nil && !s.pg.IsClosed() {
		undone.Broken = s.ended
		return undone, requests, -1
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
	head := s.begin(p)
	p.SendFlushRequest() // the claim may wait for a lock, and what to watch must be known before
	sendPrepared(p, claim, record.PostgresClaim, c.params())
	claimed := time.Now()
	a := answers{session: s, p: p, sent: ready, token: token{server: s.server}, failed: -1}
	err = a.claim(head, c)
	if err == nil {
		err = a.execute(ready, c)
	}
	committing := err == nil
	switch {
	case committing:
		err = a.record(claimed)
	case err == errNotSent || !endsConnection(err):
		if lost := p.Sync(); lost != nil {
			err = lost
		} else {
			a.drain(err)
		}
	}
	closeErr := p.Close()
	hit := s.watch.end(ctx)
	sent = a.sent
	switch {
	case err == nil && closeErr == nil:
		return s.committed(ctx, a.commit, hit), sent, -1
	case a.synced:
		s.failed = s.pg.PgConn().TxStatus() != 'I'
		undone.Broken = s.ended
		if a.failed < 0 {
			s.invalidate(record.PostgresClaim, err)
			return undone, sent, -1
		}
		s.invalidate(sent[a.failed].query, err)
		if s.ended {
			s.stuck = sent[a.failed].call
		}
		return undone, sent, a.failed
	}
	s.ended = true
	switch {
	case a.failed >= 0:
		return engine.Outcome{Verdict: engine.Refused, Err: driver.ErrBadConn, Broken: true}, sent, -1
	case !committing && (ctx.Err() != nil || ended(err)): // one call took all the time, or ended the connection, or the claim did
		if a.executing && a.answered < len(sent) {
			s.stuck = sent[a.answered].call
		}
		undone.Broken = true
		return undone, sent, -1
	case !committing:
		out = s.refused(ctx, err)
		out.Broken = true
		return out, sent, -1
	}
	out = engine.Outcome{Verdict: engine.Unknown, Culprit: -1, Err: cmp.Or(err, closeErr), Broken: true}
	if a.token.xid != "" {
		out.Token = a.token
	}
	return out, sent, -1
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

// claim sends the head and the claim and reads their answers.
func (a *answers) claim(head int, c *claims) error {
	a.p.SendFlushRequest()
	if err := a.p.Flush(); err != nil {
		return err
	}
	if err := a.head(head); err != nil {
		return err
	}
	a.session.failed = false
	_, ids, err := a.next(true)
	for _, id := range ids {
		c.claimed[string(id)] = true
	}
	return err
}

// errNotSent ends a transaction that has claimed an id whose request turns out not to be one that can be sent.
var errNotSent = errors.New("groupcommit/pgx: a request that was claimed could not be sent")

// execute answers from the ledger what is there, has the other requests executed, and reads their answers.
func (a *answers) execute(ready []request, c *claims) error {
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
	ok := a.send(fresh)
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
	return a.results()
}

// replay answers requests with what is recorded. One whose row has been deleted since it was claimed is put off.
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

// record corrects what came out otherwise than expected, or later, and commits.
func (a *answers) record(claimed time.Time) error {
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
		err = a.committed(start)
	}
	if err != nil && !a.synced && !endsConnection(err) {
		a.drain(err)
	}
	return err
}

// expectedRows is how many rows a claim says that its call affects.
const expectedRows = 1

var expected = valueOf(expectedRows)

// valueOf is the value of a promise whose call affected so many rows.
func valueOf(rows int64) []byte { return record.Outcome{Rows: rows, HasRows: true}.Append(nil) }

// sendPrepared sends a statement with parameters in their text form, by its name if it was prepared.
func sendPrepared(p *pgconn.Pipeline, sd *pgconn.StatementDescription, query string, params [][]byte) {
	if sd != nil && sd.Name != "" {
		p.SendQueryPrepared(sd.Name, params, nil, nil)
	} else {
		p.SendQueryParams(query, params, nil, nil, nil)
	}
}

// withoutIDs returns the requests that have none, and puts off the others.
func withoutIDs(requests []request) []request {
	kept := make([]request, 0, len(requests))
	for _, r := range requests {
		if r.call.ID() != "" {
			r.call.PutOff()
		} else {
			kept = append(kept, r)
		}
	}
	return kept
}

func (s *session) hasID(requests []request) bool {
	return s.settings.Promises && slices.ContainsFunc(requests, func(r request) bool { return r.call.ID() != "" })
}
