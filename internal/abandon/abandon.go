// Package abandon gives up a group of calls when no caller waits for it any more.
package abandon

import (
	"context"
	"sync"
	"time"

	"github.com/groupcommit/groupcommit/engine"
)

// A Group is being run. It is given up when the contexts of all its callers have ended: on the plain driver each of them would
// have closed its connection. A network that went silent costs them that long, and not the group's own time limit.
//
// As long as one caller still waits, the group goes on, because its end would hit that caller, too.
type Group struct {
	mu    sync.Mutex
	over  bool
	given bool
	timer *time.Timer
}

const (
	// first is the least time that a group may take. If a short deadline closes a connection, the next call must open one.
	first = time.Second
	look  = 100 * time.Millisecond
)

// Watch calls cancel once no caller waits for the calls.
func Watch(calls []*engine.Call, cancel context.CancelFunc) *Group {
	g := &Group{}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.timer = time.AfterFunc(first, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.over { // the calls may be others by then
			return
		}
		for _, c := range calls {
			switch ctx := c.Context(); {
			case ctx.Done() == nil:
				return
			case ctx.Err() == nil:
				g.timer.Reset(look)
				return
			}
		}
		g.given = true
		cancel()
	})
	return g
}

// End ends the watch, and reports whether the group was given up.
func (g *Group) End() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	g.timer.Stop()
	return g.given
}
