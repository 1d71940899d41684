package groupcommit

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/durable"
)

// flights are the calls with an id that are under way in this process. A second call with the same id does not queue
// behind the first: it waits for the first one's outcome, which is its own. The latest that have landed are kept, so that a
// call that comes again soon needs no database.
//
// They are spread over several parts by their ids, so that callers seldom wait for each other.
type flights struct {
	keep  time.Duration // how long a promise is kept; 0: for ever
	parts [16]flightPart
}

type flightPart struct {
	mu    sync.Mutex
	byID  map[string]*flight
	kept  []*flight // that have landed; the oldest is at next
	next  int
	spare *flight // that was the oldest, and that nobody knows any more
}

// keptFlights is how many a part keeps, of some 300 bytes and the id each: with all the parts the latest 10,000, though no part
// has its exact share of them.
const keptFlights = 12_000 / len(flights{}.parts)

var flightSeed = maphash.MakeSeed()

func (fs *flights) part(id string) *flightPart {
	return &fs.parts[maphash.String(flightSeed, id)%uint64(len(fs.parts))]
}

// A flight is one execution, and everybody who waits for it. Its part's mutex guards the fields; out, at and own do not
// change once it has landed.
type flight struct {
	id    string
	print durable.Key

	landed chan struct{} // closed when it has; nil while nobody waits for that
	over   bool
	shared bool // others than its first caller may know it
	gone   bool // another flight has its id
	out    engine.Answer
	own    bool      // the outcome is its first caller's alone: its context ended, its argument panicked, its connection failed
	brief  bool      // it is forgotten when it has landed
	at     time.Time // when it landed
}

// board returns the flight with an id. mine says that it is new: who called must have the call executed, and land it.
func (fs *flights) board(id string, print durable.Key) (f *flight, mine bool, err error) {
	p := fs.part(id)
	p.mu.Lock()
	defer p.mu.Unlock()
	f = p.byID[id]
	switch {
	case f == nil:
		return p.begin(id, print), true, nil
	case f.over && fs.keep > 0 && time.Since(f.at) >= fs.keep:
		f.gone = true
		return p.begin(id, print), true, nil
	case f.print != print:
		return nil, false, fmt.Errorf("groupcommit: id %q: %w", id, ErrMismatch)
	case !f.over && f.landed == nil:
		f.landed = make(chan struct{})
	}
	f.shared = true
	return f, false, nil
}

func (p *flightPart) begin(id string, print durable.Key) (f *flight) {
	if p.byID == nil {
		p.byID = make(map[string]*flight)
	}
	if f, p.spare = p.spare, nil; f == nil {
		f = new(flight)
	}
	f.id, f.print = id, print
	p.byID[id] = f
	return f
}

// land ends a flight with its first caller's outcome. The caller then forgets the flight.
func (fs *flights) land(f *flight, out engine.Answer, ctx context.Context) {
	own := f.own || out.Panicked || out.Err == engine.ErrUnanswered || errors.Is(out.Err, driver.ErrBadConn) || out.Err != nil && ctx.Err() != nil
	now := time.Now()
	p := fs.part(f.id)
	p.mu.Lock()
	defer p.mu.Unlock()
	f.over, f.out, f.own, f.at = true, out, own, now
	if f.landed != nil {
		close(f.landed)
	}
	if out.Err == nil && !out.Result.Replayed && !f.brief { // of a replay it is not known how long it will be kept
		p.remember(f)
	} else {
		delete(p.byID, f.id)
	}
}

// remember keeps a flight, in the place of the oldest.
func (p *flightPart) remember(f *flight) {
	if len(p.kept) < keptFlights {
		p.kept = append(p.kept, f)
		return
	}
	oldest := p.kept[p.next]
	p.kept[p.next] = f
	p.next = (p.next + 1) % keptFlights
	if !oldest.gone {
		delete(p.byID, oldest.id)
	}
	if !oldest.shared {
		*oldest = flight{}
		p.spare = oldest
	}
}

// share waits, on behalf of a call that came then, until a flight that another call has begun is over. ok is false if its
// outcome is not for others: who asks must try by itself.
//
// It waits no longer than patience, which is that of a call in the queue; 0 is for as long as it takes. The other call may be
// waiting for the one who asks: a function that SQL calls may execute the very call that it is a part of.
func (f *flight) share(ctx context.Context, since time.Time, patience time.Duration, busy error) (out engine.Answer, ok bool) {
	if f.landed != nil {
		select {
		case <-f.landed:
		default:
			if err := f.await(ctx, since, patience, busy); err != nil {
				return engine.Answer{Err: err}, true
			}
		}
	}
	out = f.out
	out.Result.Replayed = out.Err == nil
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
		return engine.Left(f.id, ctx.Err())
	case <-limit:
		return busy
	}
}
