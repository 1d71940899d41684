package pgx

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/record"
	"github.com/jackc/pgx/v5/pgconn"
)

// ledgered is transaction for requests of which some have ids. It is sent in two pieces:
//
//	[close…] [ROLLBACK] BEGIN SET CONSTRAINTS head Flush claim Flush request... Sync
//	[correction] COMMIT Sync
//
// The claim writes a row for each id, with the expected outcome: one row affected. No other transaction sees the row before
// the commit. It is corrected only if the outcome was another, or came late. If an id is there already, the claim fails, and
// so nothing behind it is executed. All ids are claimed before anything else is locked, and in their order. So two groups with
// the same ids wait for each other, but not in a circle.
//
// Where an id is there, the transaction is made again with a claim that does not fail, in three pieces:
//
//	ROLLBACK BEGIN SET CONSTRAINTS head Flush claim Sync
//	[replays] request... Sync
//	[correction] COMMIT Sync
//
// A statement after the claim reads the records of the ids that are there, and sees the rows that the claim ran into. The
// calls with other ids are executed. Programs that come with an old id come with more of them, after a crash say. So the next
// transaction does the same at once, until one has met no old id.
//
// Requests of one plain INSERT may be statements of many rows, as in manyRows. Because COMMIT waits for the answers anyway, that costs
// no round trip. A row of such a statement is one affected row, as the claim records. If the transaction is rolled back, and perhaps for
// such a statement, it is made again with single rows.
//
// Every result is here before COMMIT is sent. If the connection is lost before that, it is certain that nothing was
// committed.
//
// Rejected: COMMIT in the first piece, too. The number of rows that a call affects would have to be known before.
//
// Where a statement of ours fails the culprit is -1: the requests with ids must not come again.
func (s *session) ledgered(ctx context.Context, requests []request) (out engine.Outcome, sent []request, culprit int) {
	ready, claim, err := s.prepare(ctx, &s.watch, requests, record.PostgresClaimNew)
	many := false
	if err == nil && slices.ContainsFunc(ready, func(r request) bool { return r.insert != nil }) {
		if many, err = s.prepareMissing(ctx, ready); err == nil && !many { // and a text may have to be prepared again
			withoutInserts(ready)
			return s.ledgered(ctx, ready)
		}
	}
	if err != nil {
		return s.refused(ctx, err), nil, -1
	}
	ready, c := claimsOf(ready)
	if !s.database.replays.Load() {
		a := s.beginMany(ctx, many)
		err = a.finish(a.claimNew(ready, claim, c))
		if ready = a.sent; err != errTaken || !a.synced {
			return a.endMany(ctx, err, s.ledgered)
		}
		a.end(ctx, err)
		if s.ended {
			return engine.Outcome{Verdict: engine.Refused, Err: driver.ErrBadConn, Broken: true}, ready, -1
		}
	}
	a := s.beginMany(ctx, many)
	err = a.finish(a.claimSome(ready, c))
	return a.endMany(ctx, err, s.ledgered)
}

// sendRequests is sendAll, or sendMany if some statements have many rows.
func (a *answers) sendRequests(ready []request) bool {
	if a.bundled {
		return a.sendMany(ready)
	}
	return a.sendAll(ready)
}

// readRequests reads the answers to what sendRequests has sent.
func (a *answers) readRequests() error {
	if a.bundled {
		return a.readMany()
	}
	return a.readResults()
}

// finish commits a transaction whose requests have been executed.
func (a *answers) finish(claimed time.Time, err error) error {
	if err == nil {
		err = a.recordAndCommit(claimed)
	}
	return err
}

// settle reads up to the server's word that ends a piece, in which a statement may have failed by err.
func (a *answers) settle(err error) error {
	if err != nil && err != errNotSent && err != errTaken && err != errTooMany && err != errNotAlike && endsConnection(err) {
		return err
	}
	a.refusal = err != nil
	if lost := readSync(a.p); lost != nil {
		return lost
	}
	a.synced = err != nil
	return err
}

// claims are the ids of a transaction, in their order.
type claims struct {
	ids     []string
	keys    []durable.Key
	claimed map[string]bool
}

// claimsOf returns the claims of requests, and the requests. An id that comes twice is put off the second time.
func claimsOf(requests []request) ([]request, *claims) {
	named := make([]int, 0, len(requests))
	for i, r := range requests {
		if r.call.ID() != "" {
			named = append(named, i)
		}
	}
	slices.SortFunc(named, func(i, j int) int {
		return cmp.Or(strings.Compare(requests[i].call.ID(), requests[j].call.ID()), i-j)
	})
	c := &claims{ids: make([]string, 0, len(named)), keys: make([]durable.Key, 0, len(named))}
	for _, i := range named {
		call := requests[i].call
		if n := len(c.ids); n > 0 && c.ids[n-1] == call.ID() {
			call.PutOff()
			continue
		}
		c.ids, c.keys = append(c.ids, call.ID()), append(c.keys, call.Fingerprint())
	}
	if len(c.ids) < len(named) {
		requests = slices.DeleteFunc(requests, func(r request) bool { return r.call.IsPutOff() })
	}
	return requests, c
}

func (c *claims) params() [][]byte {
	return record.PostgresRows(c.ids, c.keys, durable.Resolved, "", expected)
}

// sendClaim is sendPrepared for the arguments of a claim.
func sendClaim(p *pgconn.Pipeline, sd *pgconn.StatementDescription, query string, params [][]byte) {
	if sd != nil && sd.Name != "" {
		p.SendQueryPrepared(sd.Name, params, record.PostgresFormats, nil)
	} else {
		p.SendQueryParams(query, params, nil, record.PostgresFormats, nil)
	}
}

var (
	// errNotSent ends a transaction that has claimed the id of a request which cannot be sent after all.
	errNotSent = errors.New("groupcommit/pgx: a request that was claimed could not be sent")

	// errTaken ends a transaction that was to claim ids of which one is there.
	errTaken = errors.New("groupcommit/pgx: an id is there already")
)

// claimNew claims ids of which none may be there, and has the requests executed. It reads their answers. err is errTaken if
// not all ids could be claimed.
func (a *answers) claimNew(ready []request, claim *pgconn.StatementDescription, c *claims) (claimed time.Time, err error) {
	sendClaim(a.p, claim, record.PostgresClaimNew, c.params())
	a.p.SendFlushRequest()
	claimed = time.Now()
	if !a.sendRequests(ready) {
		err = errNotSent
	}
	if lost := a.p.Sync(); lost != nil {
		return claimed, lost
	}
	if err == nil {
		err = a.readNew(c)
	}
	return claimed, a.settle(err)
}

// readNew reads the answers to what claimNew has sent.
func (a *answers) readNew(c *claims) error {
	if err := a.readHead(); err != nil {
		return err
	}
	n, _, err := a.next(false)
	switch {
	case taken(err), err == nil && n != int64(len(c.ids)):
		return errTaken
	case err != nil:
		a.invalidate(record.PostgresClaimNew, err)
		return err
	}
	return a.readRequests()
}

// taken reports the error of a claim whose id is there.
func taken(err error) bool {
	pg := asPg(err)
	return pg != nil && pg.Code == "23505" // unique_violation
}

// claimSome claims those ids that are not there. It answers requests from the ledger if it has their ids, and has the others
// executed. It reads their answers.
func (a *answers) claimSome(ready []request, c *claims) (claimed time.Time, err error) {
	a.sent = ready
	sendClaim(a.p, nil, record.PostgresClaim, c.params())
	claimed = time.Now()
	if err := a.p.Sync(); err != nil {
		return claimed, err
	}
	err = a.readHead()
	if err == nil {
		var ids [][]byte
		_, ids, err = a.next(true)
		c.claimed = make(map[string]bool, len(ids))
		for _, id := range ids {
			c.claimed[string(id)] = true
		}
	}
	if err = a.settle(err); err != nil {
		return claimed, err
	}
	a.database.replays.Store(len(c.claimed) < len(c.ids))
	return claimed, a.executeClaimed(ready, c)
}

// executeClaimed answers requests from the ledger if it has their ids. It has the others executed, and reads their answers.
func (a *answers) executeClaimed(ready []request, c *claims) (err error) {
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
	if !a.sendRequests(fresh) {
		err = errNotSent
	}
	if lost := a.p.Sync(); lost != nil {
		return lost
	}
	if len(replays) > 0 {
		_, values, failed := a.next(true)
		if failed != nil {
			putOff(replays)
			return a.settle(failed)
		}
		replay(replays, values)
	}
	if err == nil {
		err = a.readRequests()
	}
	return a.settle(err)
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
	err := a.sendCommit()
	if err == nil && len(ids) > 0 {
		_, _, err = a.next(false)
	}
	if err == nil {
		err = a.readCommit(start)
	}
	a.drain(err)
	return err
}

// expectedRows is the number of affected rows that a claim records.
const expectedRows = 1

var expected = valueOf(expectedRows)

// valueOf is the value of a promise whose call affected so many rows.
func valueOf(rows int64) []byte { return record.Outcome{Rows: rows, HasRows: true}.Append(nil) }
