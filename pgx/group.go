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
	if err := s.learn(ctx); err != nil {
		return s.refused(ctx, err)
	}
	defer s.watch.close()
	apiece, err := s.apiece(ctx)
	if err != nil {
		return s.refused(ctx, err)
	}
	together, single := s.sort(calls, apiece)
	s.stuck = nil
	out := s.share(ctx, together, &single)
	if out.Verdict != engine.Committed {
		out.Culprit = slices.Index(calls, s.stuck)
		putOff(single) // not begun
		return out
	}
	if s.simple || !s.server.flushes {
		putOff(single)
	} else if took, err := s.autocommit(ctx, single); err == nil {
		out.Members += took
	} else {
		if !slices.ContainsFunc(calls, func(c *engine.Call) bool { return c.Err() == nil }) {
			return s.refused(ctx, err) // nothing of the group was executed
		}
		putOff(single)
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
	why, err := s.database.functions.whyApiece(ctx, s.pg, s.server.version, s.settings.SchemaChanges())
	return why != "", err
}

// sort chooses the way of each call. With apiece none may share a transaction.
func (s *session) sort(calls []*engine.Call, apiece bool) (together, single []request) {
	now := time.Now()
	together = make([]request, 0, len(calls))
	for _, c := range calls {
		way, sample := s.memory.road(c.Query, now)
		r := request{call: c, query: c.Query, sample: sample}
		switch {
		case way == roadAlone, c.ID() != "" && (way == roadPipeline || apiece || s.simple):
			c.PutOff()
		case way == roadPipeline || apiece:
			single = append(single, r)
		default:
			together = append(together, r)
		}
	}
	return together, single
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
		transaction := s.transaction
		switch {
		case s.simple:
			transaction = s.oneByOne
		case s.hasID(together):
			transaction = s.ledgered
		}
		var culprit int
		out, together, culprit = transaction(ctx, together)
		s.memory.teach(together, culprit)
		if out.Verdict != engine.RolledBack || out.Broken {
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
		together[culprit].call.PutOff()
		together = append(together[:culprit:culprit], together[culprit+1:]...)
	}
	return out
}

func (s *session) hasID(requests []request) bool { return s.settings.Promises && anyID(requests) }
