package groupcommit

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/groupcommit/groupcommit/durable"
)

// flights are the calls with an id that are under way in this process. A second call with the same id does not queue
// behind the first: it waits for the first one's outcome, which is its own. The latest that have landed are kept, so that a
// call that comes again soon needs no database.
type flights struct {
	keep time.Duration // how long a promise is kept; 0: for ever

	mu   sync.Mutex
	byID map[string]*flight
	kept []*flight // that have landed; the oldest is at next
	next int
}

// keptFlights is how many are kept, of some 300 bytes and the id each.
const keptFlights = 10_000

// A flight is one execution, and everybody who waits for it. The flights' mutex guards the fields; out, at and own do not
// change once it has landed.
type flight struct {
	id    string
	print durable.Key

	landed chan struct{} // closed when it has; nil while nobody waits for that
	over   bool
	out    outcome
	own    bool      // the outcome is its first caller's alone: its context ended, its argument panicked, its connection failed
	brief  bool      // it is forgotten when it has landed
	at     time.Time // when it landed
}

// board returns the flight with an id. mine says that it is new: who called must have the call executed, and land it.
func (fs *flights) board(id string, print durable.Key) (f *flight, mine bool, err error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f = fs.byID[id]
	switch {
	case f == nil, f.over && fs.keep > 0 && time.Since(f.at) >= fs.keep:
		if fs.byID == nil {
			fs.byID = make(map[string]*flight)
		}
		f = &flight{id: id, print: print}
		fs.byID[id] = f
		return f, true, nil
	case f.print != print:
		return nil, false, fmt.Errorf("groupcommit: id %q: %w", id, ErrMismatch)
	case !f.over && f.landed == nil:
		f.landed = make(chan struct{})
	}
	return f, false, nil
}

// land ends a flight with its first caller's outcome.
func (fs *flights) land(f *flight, out outcome, ctx context.Context) {
	own := f.own || out.panicked || out.err == errUnanswered || errors.Is(out.err, driver.ErrBadConn) || out.err != nil && ctx.Err() != nil
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f.over, f.out, f.own, f.at = true, out, own, time.Now()
	if f.landed != nil {
		close(f.landed)
	}
	if out.err == nil && !out.result.replayed && !f.brief { // of a replay it is not known how long it will be kept
		fs.remember(f)
	} else {
		delete(fs.byID, f.id)
	}
}

// remember keeps a flight, in the place of the oldest.
func (fs *flights) remember(f *flight) {
	if len(fs.kept) < keptFlights {
		fs.kept = append(fs.kept, f)
		return
	}
	if oldest := fs.kept[fs.next]; fs.byID[oldest.id] == oldest {
		delete(fs.byID, oldest.id)
	}
	fs.kept[fs.next] = f
	fs.next = (fs.next + 1) % keptFlights
}

// share waits, on behalf of a call that came then, until a flight that another call has begun is over. ok is false if its
// outcome is not for others: who asks must try by itself.
//
// It waits no longer than patience, which is that of a call in the queue; 0 is for as long as it takes. The other call may be
// waiting for the one who asks: a function that SQL calls may execute the very call that it is a part of.
func (f *flight) share(ctx context.Context, since time.Time, patience time.Duration, busy error) (out outcome, ok bool) {
	if f.landed != nil {
		select {
		case <-f.landed:
		default:
			if err := f.await(ctx, since, patience, busy); err != nil {
				return outcome{err: err}, true
			}
		}
	}
	out = f.out
	out.result.replayed = out.err == nil
	return out, !f.own
}

// await waits until a flight is over.
func (f *flight) await(ctx context.Context, since time.Time, patience time.Duration, busy error) error {
	var limit <-chan time.Time
	if patience > 0 {
		t := time.NewTimer(patience - time.Since(since))
		defer t.Stop()
		limit = t.C
	}
	select {
	case <-f.landed:
		return nil
	case <-ctx.Done():
		return &OutcomeUnknownError{ID: f.id, Cause: ctx.Err(), ended: ctx.Err(), attached: true}
	case <-limit:
		return busy
	}
}
