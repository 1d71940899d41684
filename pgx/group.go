package pgx

import (
	"context"
	"database/sql/driver"
	"slices"
	"time"

	"github.com/groupcommit/groupcommit/engine"
)

func (s *session) Alone(c *engine.Call) (driver.Result, error) {
	if c.ID() != "" {
		return s.ledgeredAlone(c)
	}
	return engine.ExecOn(c.Context(), s.conn, c)
}

// Group commits one part of the calls in one transaction, the next by the autocommit pipeline, and puts off the calls that
// must not keep the others waiting.
func (s *session) Group(ctx context.Context, calls []*engine.Call) engine.Outcome {
	err, apiece := s.learn(ctx), false
	if err == nil {
		apiece, err = s.apiece(ctx)
	}
	if err != nil {
		out := s.refused(ctx, err)
		out.Broken = !s.Idle() // nothing was begun
		return out
	}
	together, single := s.sort(calls, apiece)
	defer s.forgetRequests()
	s.stuck = nil
	out := s.share(ctx, together, &single)
	if out.Verdict != engine.Committed {
		out.Culprit = slices.Index(calls, s.stuck)
		putOff(single) // not begun
		return out
	}
	if s.simple || !s.server.flushes {
		putOff(single)
	} else {
		left, took, err := s.inWindows(ctx, single)
		out.Members += took
		if err != nil && len(left) == len(single) && !slices.ContainsFunc(calls, func(c *engine.Call) bool { return c.Err() == nil }) {
			return s.refused(ctx, err) // nothing of the group was executed
		}
		putOff(left)
	}
	s.rollback(ctx)
	out.Broken = s.ended || !s.Idle()
	return out
}

// apiece reports that each call is to have a transaction of its own.
func (s *session) apiece(ctx context.Context) (bool, error) {
	switch {
	case !s.server.readCommitted:
		s.database.isolation.Store(&s.server.isolation)
		return true, nil
	case s.settings.Mode == engine.Autocommit:
		return true, nil
	case s.settings.Mode == engine.Transaction:
		return false, nil
	}
	why, err := s.database.functions.whyApiece(ctx, &s.wire, s.settings.SchemaChanges())
	return why != "", err
}

// sort chooses the way of each call. With apiece none may share a transaction. The requests are in the session's own memory until
// forgetRequests.
func (s *session) sort(calls []*engine.Call, apiece bool) (together, single []request) {
	s.requests = s.memory.routes(s.requests, calls, time.Now())
	together = s.requests[:0]
	for _, r := range s.requests {
		c, way := r.call, r.route.road
		switch {
		case way == roadAlone, c.ID() != "" && (way == roadPipeline || apiece || s.simple):
			c.PutOff()
		case way == roadPipeline || apiece:
			r.route.road = roadPipeline
			single = append(single, r)
		default:
			together = append(together, r)
		}
	}
	return together, single
}

// requestsKept is how many requests' memory a session keeps for its next group.
const requestsKept = 1 << 10

// forgetRequests forgets the calls of a group, which belong to their callers.
func (s *session) forgetRequests() {
	clear(s.requests)
	if cap(s.requests) > requestsKept {
		s.requests = nil
	}
}

// mayFail is the number of culprits that are taken out of a transaction before the other requests go by the autocommit
// pipeline.
const mayFail = 1

// share commits the requests in one transaction, without those that fail. Where too many fail, it adds the rest to single.
func (s *session) share(ctx context.Context, together []request, single *[]request) engine.Outcome {
	var out engine.Outcome
	for failed := 0; len(together) > 0; failed++ {
		if failed > mayFail {
			*single = append(withoutIDs(together), *single...)
			return engine.Outcome{}
		}
		transaction, ids := s.transaction, s.hasID(together)
		many := failed == 0 && s.hasMany() && s.memory.manyPay(together, s.database.widths.least(), ids)
		switch {
		case s.simple:
			transaction = s.oneByOne
		case ids:
			if !many {
				withoutInserts(together)
			}
			transaction = s.ledgered
		case many:
			transaction = s.manyRows
		}
		var culprit int
		s.waits = false
		s.watch.expect(s.memory.pays(), together)
		out, together, culprit = transaction(ctx, together)
		if !s.watch.struck() && (culprit < 0 || !together[culprit].call.IsLarge()) {
			s.memory.teach(together, culprit)
		}
		if out.Verdict != engine.RolledBack || out.Broken {
			if out.Verdict == engine.Committed {
				s.memory.passed(together, false)
			}
			return out
		}
		if culprit < 0 && s.hasID(together) { // perhaps a statement of the ledger's
			together, out = withoutIDs(together), engine.Outcome{}
			continue
		}
		if culprit < 0 { // COMMIT itself failed
			*single = append(together, *single...)
			return engine.Outcome{}
		}
		query, large := together[culprit].query, together[culprit].call.IsLarge()
		together[culprit].call.PutOff()
		together = append(together[:culprit:culprit], together[culprit+1:]...)
		if s.waits {
			s.memory.waited(query, false, s.watch.limit, time.Now())
		}
		together = s.sift(together, func(r request) bool {
			if large && r.query == query && r.call.WantsRows() { // each would cost the others as much
				r.call.PutOff()
				return false
			}
			if s.waits && r.query == query && r.call.ID() == "" {
				*single = append(*single, r)
				return false
			}
			return true
		})
	}
	return out
}

// sift returns the requests that keep says may go on, and that are not apart by now. It puts off the others that are.
func (s *session) sift(requests []request, keep func(request) bool) []request {
	kept := requests[:0:0]
	for _, r := range requests {
		switch {
		case s.memory.leaves(r.query):
			r.call.PutOff()
		case keep == nil || keep(r):
			kept = append(kept, r)
		}
	}
	return kept
}

// blame notes whether the error that undid a transaction is that of a call which waited for a lock.
func (s *session) blame(err error) {
	pg := asPg(err)
	s.waits = pg != nil && (pg.Code == "40P01" || s.watch.mayHaveHit(err) && !s.watch.stopped) // deadlock_detected
}

// inWindows has the requests go by the autocommit pipeline, in several if their texts have waited for locks not long ago: the
// requests of one pipeline are under way, and each may wait for a lock in its turn. left are those that are neither answered
// nor put off after an error, which is as autocommit's.
func (s *session) inWindows(ctx context.Context, requests []request) (left []request, took time.Duration, err error) {
	for len(requests) > 0 {
		n := s.memory.window(requests)
		window := requests[:n:n]
		s.watch.expect(s.memory.pays(), window)
		each, err := s.autocommit(ctx, window)
		if took += each; err != nil {
			return requests, took, err
		}
		s.memory.passed(slices.DeleteFunc(window, func(r request) bool { return r.call.IsPutOff() }), true)
		requests = requests[n:]
		if s.ended {
			return requests, took, nil
		}
		requests = s.sift(requests, nil)
	}
	return nil, took, nil
}

func (s *session) hasID(requests []request) bool { return s.settings.Promises && anyID(requests) }
