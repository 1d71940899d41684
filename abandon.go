package groupcommit

import (
	"context"
	"sync"
	"time"

	"github.com/groupcommit/groupcommit/engine"
)

// A group that nobody waits for any more is given up: the contexts of all its callers have ended, and on the plain driver each of
// them would have closed its connection by now. A network that went silent costs them that long, and not [MaxTime].
//
// As long as one of them would wait, the group goes on: its end is nobody's alone.
type abandonment struct {
	mu    sync.Mutex
	over  bool
	given bool
	timer *time.Timer
}

const (
	// abandonFirst is how long a group may take at the least: who closes a connection because of a short deadline pays for it
	// with the next call.
	abandonFirst = time.Second
	abandonLook  = 100 * time.Millisecond
)

// abandon has cancel called once nobody waits for the calls. What is returned is asked by end.
func abandon(calls []*call, cancel context.CancelFunc) *abandonment {
	a := &abandonment{}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.timer = time.AfterFunc(abandonFirst, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.over { // the calls may be others by now
			return
		}
		for _, c := range calls {
			switch {
			case c.Context().Done() == nil:
				return
			case c.Context().Err() == nil:
				a.timer.Reset(abandonLook)
				return
			}
		}
		a.given = true
		cancel()
	})
	return a
}

// end ends the watch, and reports whether the group was given up.
func (a *abandonment) end() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	a.timer.Stop()
	return a.given
}

// answerEnded answers the calls of a group that was given up and of which nothing is left, as they would have been if nobody had
// claimed them.
func answerEnded(calls []*call) engine.Outcome {
	for _, c := range calls {
		c.Reset()
		c.Answer(nil, c.Context().Err())
	}
	return engine.Outcome{}
}
