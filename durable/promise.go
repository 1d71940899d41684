package durable

import (
	"fmt"
	"maps"
	"strings"
	"time"
	"unicode/utf8"
)

// Promise is the record of one promise. A Promise that a store returns belongs to the caller: changing it does not change
// the store.
type Promise struct {
	ID          string
	State       State
	Param       Value             // the request, from the create
	Value       Value             // the outcome, from the completion; zero if pending or completed by the timeout
	Tags        map[string]string // from the create; nil if there are none
	Timeout     time.Time         // when a pending promise completes by itself; zero: never
	CreateKey   Key
	CompleteKey Key // none if pending or completed by the timeout
	Created     time.Time
	Completed   time.Time // zero while the promise is pending
}

// Value is the data of a request or of an outcome. The store does not look into it. Empty and nil are the same, and come
// back as nil.
type Value struct {
	Headers map[string]string
	Data    []byte
}

// Key is an idempotency key: a repeated request has the same key as the first. It may be any bytes. The empty Key is none.
type Key string

// Matches reports that both keys are the same. An empty key matches no key, not even another empty one.
func (k Key) Matches(other Key) bool { return k != "" && k == other }

// TimeoutTag is the tag that makes a timeout a success, as for a promise that stands for a sleep. With the value "true", the
// timeout resolves the promise and does not reject it.
const TimeoutTag = "resonate:timeout"

// at is the promise as it stands at a time.
func (p Promise) at(now time.Time) Promise {
	if !p.due(now) {
		return p
	}
	p.State, p.Completed = RejectedTimedout, p.Timeout
	if p.Tags[TimeoutTag] == "true" {
		p.State = Resolved
	}
	return p
}

// due reports that the promise is still pending although its timeout has passed.
func (p Promise) due(now time.Time) bool {
	return p.State == Pending && !p.Timeout.IsZero() && !now.Before(p.Timeout)
}

func (p Promise) clone() Promise {
	p.Param, p.Value, p.Tags = p.Param.clone(), p.Value.clone(), cloneMap(p.Tags)
	return p
}

func (v Value) clone() Value {
	return Value{cloneMap(v.Headers), append([]byte(nil), v.Data...)}
}

func cloneMap(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return maps.Clone(m)
}

// maxID is the most bytes that an id may have: short enough for the index of any database.
const maxID = 255

// CheckID returns an error that says what is wrong with an id, or nil. An id is 1 to 255 bytes of UTF-8 without a NUL, which
// PostgreSQL cannot store.
func CheckID(id string) error {
	switch {
	case id == "":
		return fmt.Errorf("durable: the id is empty; it must have 1 to %d bytes", maxID)
	case len(id) > maxID:
		return fmt.Errorf("durable: the id %.40q… has %d bytes; it must have 1 to %d", id, len(id), maxID)
	}
	return checkText("id", id)
}

// checkText refuses a text that some database would not give back unchanged.
func checkText(what, text string) error {
	switch {
	case !utf8.ValidString(text):
		return fmt.Errorf("durable: the %s %.100q is not valid UTF-8", what, text)
	case strings.ContainsRune(text, 0):
		return fmt.Errorf("durable: the %s %.100q has a NUL byte, which is not allowed", what, text)
	}
	return nil
}

func checkMap(what string, m map[string]string) error {
	for key, value := range m {
		if err := checkText(what, key); err != nil {
			return err
		}
		if err := checkText(fmt.Sprintf("value of the %s %.40q,", what, key), value); err != nil {
			return err
		}
	}
	return nil
}

// millis is the time as the stores know it.
func millis(t time.Time) time.Time { return time.UnixMilli(t.UnixMilli()).UTC() }
