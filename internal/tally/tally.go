// Package tally counts how calls and commands end that do not simply succeed.
package tally

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"sync/atomic"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/engine"
)

// A Tally has the counts. One that succeeds by itself touches none. Any number of goroutines may use it; the zero value is ready.
type Tally struct {
	errors  [engine.ErrorClasses]atomic.Int64
	unknown atomic.Int64
	replays atomic.Int64
	retries atomic.Int64
}

// Failed counts one that has ended with an error. ctx is its caller's, and traits may be nil.
func (t *Tally) Failed(ctx context.Context, traits *engine.Traits, err error) {
	t.errors[ClassOf(ctx, traits, err)].Add(1)
	if errors.As(err, new(*engine.OutcomeUnknownError)) {
		t.unknown.Add(1)
	}
}

// Replayed counts one that was answered without being executed.
func (t *Tally) Replayed() { t.replays.Add(1) }

// Retried counts a transaction that is tried again after a passing error.
func (t *Tally) Retried() { t.retries.Add(1) }

// Counts are the numbers of a Tally.
type Counts struct {
	Errors                    map[engine.ErrorClass]int64 // nil if there are none
	Unknown, Replays, Retries int64
}

// Counts returns the numbers.
func (t *Tally) Counts() (c Counts) {
	for class := range t.errors {
		n := t.errors[class].Load()
		if n == 0 {
			continue
		}
		if c.Errors == nil {
			c.Errors = make(map[engine.ErrorClass]int64)
		}
		c.Errors[engine.ErrorClass(class)] = n
	}
	c.Unknown, c.Replays, c.Retries = t.unknown.Load(), t.replays.Load(), t.retries.Load()
	return c
}

// ClassOf is an error's class. That of an unknown outcome is the class of what has made it unknown. The end of a context is
// the caller's wish if it is the caller's own context that has ended. Otherwise it is a limit of the library's: a server has
// not answered.
func ClassOf(ctx context.Context, traits *engine.Traits, err error) engine.ErrorClass {
	if unknown, ok := errors.AsType[*engine.OutcomeUnknownError](err); ok {
		err = unknown.Cause
	}
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return engine.ErrorCanceled
	}
	if r, ok := errors.AsType[*engine.RejectedError](err); ok && r.State != durable.Rejected {
		return engine.ErrorCanceled
	}
	if traits != nil && traits.Class != nil {
		if class := traits.Class(err); class != engine.ErrorOther {
			return class
		}
	}
	if errors.As(err, new(net.Error)) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrUnexpectedEOF) {
		return engine.ErrorConnection // a net.Error may be the end of a context
	}
	return engine.ErrorOther
}

// IsReplay reports an error that comes from the record.
func IsReplay(err error) bool { return errors.As(err, new(*engine.RejectedError)) }
