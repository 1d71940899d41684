package durable

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Store keeps promises. Any number of goroutines may call its methods, which are linearizable: each takes effect at one
// moment between its call and its return, also among processes that share a database. (A search is no snapshot: this holds
// for each promise that it shows.)
//
// After an error of the database or of the context, which is not one of this package's, the request may or may not have
// taken effect. A repetition with the same key is answered as what it is, first or repeated.
type Store interface {
	// Create makes the promise, or answers that it was made. Errors: ErrConflict.
	Create(context.Context, CreateRequest) (Answer, error)
	// Resolve completes the promise with a result. Errors: ErrNotFound, ErrForbidden.
	Resolve(context.Context, CompleteRequest) (Answer, error)
	// Reject completes the promise with an error, which is the request's Value. Errors: as Resolve.
	Reject(context.Context, CompleteRequest) (Answer, error)
	// Cancel completes the promise by taking it back. Errors: as Resolve.
	Cancel(context.Context, CompleteRequest) (Answer, error)
	// Get returns the promise. Errors: ErrNotFound.
	Get(ctx context.Context, id string) (Promise, error)
	// Search returns a page of promises. The page may have fewer than Query.Limit of them although more follow: only an
	// empty Page.Cursor is the end. Search writes once for each promise on the page that it is the first to see timed out.
	Search(context.Context, Query) (Page, error)
}

// table holds a store's promises. It knows no rules and no clock; each method is atomic.
type table interface {
	// read returns a promise as it was written, or nil.
	read(ctx context.Context, id string) (*Promise, error)
	// insert writes a new promise. If there is one with this id, it changes nothing and reports false.
	insert(context.Context, Promise) (bool, error)
	// settle writes how a promise was completed. It changes nothing and reports false unless the promise is pending and was
	// made at p.Created, so that it is not another one with the same id.
	settle(ctx context.Context, p Promise) (bool, error)
	// find returns the first n promises after the cursor that fit the query at a time, as they were written.
	find(ctx context.Context, q Query, n int, now time.Time) ([]Promise, error)
}

// store is the Store on a table.
type store struct {
	table
	clock func() time.Time
}

func (s *store) Create(ctx context.Context, r CreateRequest) (Answer, error) {
	if err := r.check(); err != nil {
		return Answer{}, err
	}
	now := millis(s.clock())
	// Most ids are new. An insert first saves a read for these.
	first, _ := create(nil, r, now)
	if ok, err := s.insert(ctx, first.Promise); err != nil {
		return Answer{}, err
	} else if ok {
		return first, nil
	}
	return s.decide(ctx, r.ID, now, func(p *Promise) (Answer, error) { return create(p, r, now) })
}

func (s *store) Resolve(ctx context.Context, r CompleteRequest) (Answer, error) {
	return s.complete(ctx, Resolved, r)
}

func (s *store) Reject(ctx context.Context, r CompleteRequest) (Answer, error) {
	return s.complete(ctx, Rejected, r)
}

func (s *store) Cancel(ctx context.Context, r CompleteRequest) (Answer, error) {
	return s.complete(ctx, RejectedCanceled, r)
}

func (s *store) complete(ctx context.Context, to State, r CompleteRequest) (Answer, error) {
	if err := r.check(); err != nil {
		return Answer{}, err
	}
	now := millis(s.clock())
	return s.decide(ctx, r.ID, now, func(p *Promise) (Answer, error) { return complete(p, to, r, now) })
}

func (s *store) Get(ctx context.Context, id string) (Promise, error) {
	if err := CheckID(id); err != nil {
		return Promise{}, err
	}
	answer, err := s.getAt(ctx, id, millis(s.clock()))
	return answer.Promise, err
}

func (s *store) getAt(ctx context.Context, id string, now time.Time) (Answer, error) {
	return s.decide(ctx, id, now, func(p *Promise) (Answer, error) { return get(p, id) })
}

// rounds is more than decide needs, unless its promise is deleted and made again in each round.
const rounds = 10

// decide reads the promise, has the rule answer, and writes what the answer changed (the promise's timeout, too), provided
// that the promise is still as it was read. If it is not, another request has made or completed it, and the next round sees
// that. A promise is made once and completed once, so there are at most two such rounds, unless it is deleted.
func (s *store) decide(ctx context.Context, id string, now time.Time, rule func(*Promise) (Answer, error)) (Answer, error) {
	for range rounds {
		written, err := s.read(ctx, id)
		if err != nil {
			return Answer{}, err
		}
		current := written
		if written != nil {
			p := written.at(now)
			current = &p
		}
		answer, refusal := rule(current)
		done := true
		switch {
		case written == nil && refusal == nil:
			done, err = s.insert(ctx, answer.Promise)
		case written != nil && written.State != answer.State:
			done, err = s.settle(ctx, answer.Promise)
		}
		if err != nil {
			return Answer{}, err
		}
		if done {
			return answer, refusal
		}
	}
	return Answer{}, fmt.Errorf("durable: the promise %q was made and deleted %d times during one request", id, rounds)
}

func (s *store) Search(ctx context.Context, q Query) (Page, error) {
	if err := q.check(); err != nil {
		return Page{}, err
	}
	if q.Limit == 0 {
		q.Limit = defaultLimit
	}
	now := millis(s.clock())
	found, err := s.find(ctx, q, q.Limit+1, now) // one more, to know whether a page follows
	if err != nil {
		return Page{}, err
	}
	var page Page
	if len(found) > q.Limit {
		found = found[:q.Limit]
		page.Cursor = found[q.Limit-1].ID
	}
	for _, p := range found {
		if p.due(now) {
			answer, err := s.getAt(ctx, p.ID, now)
			if errors.Is(err, ErrNotFound) {
				continue
			} else if err != nil {
				return Page{}, err
			}
			p = answer.Promise
		}
		// A promise that was due may have been completed meanwhile, by a process whose clock is behind.
		if len(q.States) == 0 || slices.Contains(q.States, p.State) {
			page.Promises = append(page.Promises, p)
		}
	}
	return page, nil
}
