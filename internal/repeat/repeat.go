// Package repeat does work again after a time.
package repeat

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/groupcommit/groupcommit/internal/applog"
)

// A Repeater repeats a task beside the groups, for as long as a database is open.
type Repeater struct {
	do     func(context.Context) (rest time.Duration) // rest is the time before the next do; 0: every
	every  time.Duration
	ctx    context.Context // ends with Stop
	cancel context.CancelFunc

	doing sync.Mutex // held during do
	mu    sync.Mutex // guards the rest
	timer *time.Timer
	again bool // Soon was called after the current do had begun
}

// Rest is the time that a task with more to do rests after a step that took so long. Others then have the database for most
// of the time.
func Rest(took time.Duration) time.Duration { return max(5*time.Millisecond, 4*took) }

// Start begins to repeat do, first after every.
func Start(every time.Duration, do func(context.Context) (rest time.Duration)) *Repeater {
	r := &Repeater{do: do, every: every}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer = time.AfterFunc(every, r.run)
	return r
}

func (r *Repeater) run() {
	r.doing.Lock()
	defer r.doing.Unlock()
	if r.ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	r.again = false
	r.mu.Unlock()
	next := r.doGuarded()
	if next == 0 {
		next = r.every
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.ctx.Err() != nil:
	case r.again:
		r.timer.Reset(0)
	default:
		r.timer.Reset(next)
	}
}

// doGuarded logs a panic, in a hook that opens a connection, say: no caller could recover it. The next time may be better.
func (r *Repeater) doGuarded() (rest time.Duration) {
	defer func() {
		if v := recover(); v != nil {
			applog.Write(slog.LevelError, "groupcommit: work beside the program's calls has panicked", "panic", v, "stack", string(debug.Stack()))
		}
	}()
	return r.do(r.ctx)
}

// Soon makes the next do begin at once, or right after the current one.
func (r *Repeater) Soon() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() == nil {
		r.again = true
		r.timer.Reset(0)
	}
}

// Stop ends the repeating and returns when it has ended. A nil Repeater never began.
func (r *Repeater) Stop() {
	if r == nil {
		return
	}
	r.cancel()
	r.mu.Lock()
	r.timer.Stop()
	r.mu.Unlock()
	r.doing.Lock()
	defer r.doing.Unlock()
}

// Pause waits for d, or until ctx ends. It reports whether ctx goes on.
func Pause(ctx context.Context, d time.Duration) bool {
	if ctx.Err() != nil {
		return false
	}
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
