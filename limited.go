package groupcommit

import (
	"context"
	"sync"
	"time"
)

// limited is context.WithTimeout for work that mostly waits for nothing. The time begins when something asks what it may wait for;
// until then there is no timer.
type limited struct {
	context.Context // without the limit
	limit           time.Duration

	mu     sync.Mutex
	asked  context.Context // with the limit; nil until it is needed
	cancel context.CancelFunc
	over   bool
}

func withLimit(ctx context.Context, limit time.Duration) (*limited, context.CancelFunc) {
	l := &limited{Context: ctx, limit: limit}
	return l, l.end
}

func (l *limited) ask() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asked == nil {
		l.asked, l.cancel = context.WithTimeout(l.Context, l.limit)
		if l.over {
			l.cancel()
		}
	}
	return l.asked
}

func (l *limited) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	if l.cancel != nil {
		l.cancel()
	}
}

func (l *limited) Done() <-chan struct{}       { return l.ask().Done() }
func (l *limited) Deadline() (time.Time, bool) { return l.ask().Deadline() }
func (l *limited) Err() error {
	l.mu.Lock()
	asked, over := l.asked, l.over
	l.mu.Unlock()
	if asked == nil && !over {
		return l.Context.Err()
	}
	return l.ask().Err()
}
