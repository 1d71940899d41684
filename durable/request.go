package durable

import (
	"fmt"
	"time"
)

// CreateRequest asks for a promise.
type CreateRequest struct {
	ID      string            // see CheckID
	Key     Key               // identifies a repetition of this request; none: every repetition is refused
	Param   Value             // headers must be UTF-8 without a NUL
	Tags    map[string]string // likewise
	Timeout time.Time         // from 1970 to 9999, rounded down to the millisecond; zero: never
	Lenient bool              // a repetition may also find the promise completed
}

// promise is the promise that the request makes.
func (r CreateRequest) promise(now time.Time) Promise {
	p := Promise{ID: r.ID, Param: r.Param, Tags: r.Tags, CreateKey: r.Key, Created: now}
	if !r.Timeout.IsZero() {
		p.Timeout = millis(r.Timeout)
	}
	return p.clone()
}

func (r CreateRequest) check() error {
	if err := CheckID(r.ID); err != nil {
		return err
	}
	if err := checkMap("header", r.Param.Headers); err != nil {
		return err
	}
	if err := checkMap("tag", r.Tags); err != nil {
		return err
	}
	if t := r.Timeout; !t.IsZero() && (t.UTC().Year() < 1970 || t.UTC().Year() > 9999) {
		return fmt.Errorf("durable: the timeout %v is not in the years 1970 to 9999", t)
	}
	return nil
}

// CompleteRequest asks for the end of a promise.
type CompleteRequest struct {
	ID      string // see CheckID
	Key     Key    // identifies a repetition of this request; none: every strict repetition is refused
	Value   Value  // headers must be UTF-8 without a NUL
	Lenient bool   // a repetition may also find the promise completed in another way, or timed out: look at the State
}

func (r CompleteRequest) check() error {
	if err := CheckID(r.ID); err != nil {
		return err
	}
	return checkMap("header", r.Value.Headers)
}

// Query asks for the promises that fit all of its fields. The zero Query asks for all promises.
type Query struct {
	ID     string            // a pattern, at most 255 bytes: * stands for any text, the empty one too. Empty: any id
	States []State           // any of these; empty: any state
	Tags   map[string]string // all of these, each with this value
	Limit  int               // how many at most, up to 1000; zero: 100
	Cursor string            // where the page begins: the Cursor of the page before; empty: at the first
}

const (
	defaultLimit = 100
	maxLimit     = 1000
)

// Page is a part of a search's result, in the order of the ids' bytes.
type Page struct {
	Promises []Promise
	Cursor   string // for the Query that gets the next page; empty: there is none
}

func (q Query) check() error {
	if q.Limit < 0 || q.Limit > maxLimit {
		return fmt.Errorf("durable: the limit is %d; it must be 1 to %d, or 0 for %d", q.Limit, maxLimit, defaultLimit)
	}
	if len(q.ID) > maxID {
		return fmt.Errorf("durable: the id pattern %.40q… has %d bytes; it may have %d", q.ID, len(q.ID), maxID)
	}
	for _, s := range q.States {
		if int(s) >= len(names) {
			return fmt.Errorf("durable: the search asks for %v; the states are %v to %v", s, Pending, RejectedTimedout)
		}
	}
	if err := checkText("id pattern", q.ID); err != nil {
		return err
	}
	if err := checkText("cursor", q.Cursor); err != nil {
		return err
	}
	return checkMap("tag", q.Tags)
}
