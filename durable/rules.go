package durable

import (
	"errors"
	"fmt"
	"time"
)

// Answer is the result of a request: the promise as it stands after the request. With ErrConflict and ErrForbidden it is the
// promise that stands in the way; with any other error it is empty.
type Answer struct {
	Promise
	Deduplicated bool // the request changed nothing: it repeats one that was answered before, or came too late
}

// The errors of a refused request. Match them by errors.Is, because the errors returned say more.
var (
	ErrNotFound  = errors.New("durable: there is no promise of this id")
	ErrConflict  = errors.New("durable: there is a promise of this id already")
	ErrForbidden = errors.New("durable: the promise is completed already")
)

// The rules are functions of the promise as it stands at the time (nil: there is none) and the request. They alone decide
// about a promise; a store only reads and writes.

// create is rules 1 and 4.
func create(p *Promise, r CreateRequest, now time.Time) (Answer, error) {
	switch {
	case p == nil:
		return Answer{Promise: r.promise(now).at(now)}, nil
	case !r.Key.Matches(p.CreateKey):
		return Answer{Promise: *p}, fmt.Errorf("%w: %q is %v, and was not made with this key", ErrConflict, p.ID, p.State)
	case p.State != Pending && !r.Lenient:
		return Answer{Promise: *p}, fmt.Errorf("%w: %q is %v, and the request is strict", ErrConflict, p.ID, p.State)
	}
	return Answer{*p, true}, nil
}

// complete is rules 2, 3, 5 and 6. to is Resolved, Rejected or RejectedCanceled.
func complete(p *Promise, to State, r CompleteRequest, now time.Time) (Answer, error) {
	switch {
	case p == nil:
		return get(p, r.ID)
	case p.State == Pending:
		done := *p
		done.State, done.CompleteKey, done.Value, done.Completed = to, r.Key, r.Value.clone(), now
		return Answer{Promise: done}, nil
	case p.State == RejectedTimedout && r.Lenient:
		return Answer{*p, true}, nil
	case p.State == RejectedTimedout:
		return Answer{Promise: *p}, fmt.Errorf("%w: %q is %v, and cannot become %v", ErrForbidden, p.ID, p.State, to)
	case !r.Key.Matches(p.CompleteKey):
		return Answer{Promise: *p}, fmt.Errorf("%w: %q is %v, and was not completed with this key", ErrForbidden, p.ID, p.State)
	case p.State != to && !r.Lenient:
		return Answer{Promise: *p}, fmt.Errorf("%w: %q is %v, and the request, to be %v, is strict", ErrForbidden, p.ID, p.State, to)
	}
	return Answer{*p, true}, nil
}

func get(p *Promise, id string) (Answer, error) {
	if p == nil {
		return Answer{}, fmt.Errorf("%w: %q", ErrNotFound, id)
	}
	return Answer{Promise: *p}, nil
}
