package groupcommit

import (
	"context"
	"fmt"
	"sync"

	"github.com/groupcommit/groupcommit/durable"
)

// flights are the calls with an id that are under way in this process. A second call with the same id does not queue
// behind the first: it waits for the first one's outcome, which is its own.
type flights struct {
	mu   sync.Mutex
	byID map[string]*flight
}

// A flight is one execution, and everybody who waits for it.
type flight struct {
	id    string
	print durable.Key

	landed chan struct{}
	out    outcome // written once before landed is closed
	own    bool    // the outcome is its first caller's alone: its context ended, its argument panicked
}

// board returns the flight with an id. mine says that it is new: who called must have the call executed, and land it.
func (fs *flights) board(id string, print durable.Key) (f *flight, mine bool, err error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.byID[id]; f != nil {
		if f.print != print {
			return nil, false, fmt.Errorf("groupcommit: id %q: %w", id, ErrMismatch)
		}
		return f, false, nil
	}
	if fs.byID == nil {
		fs.byID = make(map[string]*flight)
	}
	f = &flight{id: id, print: print, landed: make(chan struct{})}
	fs.byID[id] = f
	return f, true, nil
}

// land ends a flight with its first caller's outcome.
func (fs *flights) land(f *flight, out outcome, ctx context.Context) {
	f.out = out
	f.own = out.panicked || out.err == errUnanswered || out.err != nil && ctx.Err() != nil
	fs.mu.Lock()
	delete(fs.byID, f.id)
	fs.mu.Unlock()
	close(f.landed)
}

// share waits for the flight's outcome. ok is false if there is none for others: who asks must try by itself.
func (f *flight) share(ctx context.Context) (out outcome, ok bool) {
	select {
	case <-f.landed:
	default:
		select {
		case <-f.landed:
		case <-ctx.Done():
			return outcome{err: ctx.Err()}, true
		}
	}
	out = f.out
	out.result.replayed = out.err == nil
	return out, !f.own
}
