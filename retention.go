package groupcommit

import (
	"context"
	"database/sql"
	"sync"
	"time"
)

// A sweeper deletes the promises that are older than the retention: a little at a time, away from the groups, in every
// process that has the database open. Whoever finds the most to do rests as long as it took, and four times that.
type sweeper struct {
	sweep  func(context.Context) (more bool)
	every  time.Duration
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex // guards the rest, and is held while sweeping
	timer   *time.Timer
	stopped bool
}

const (
	sweepMost  = 1000 // promises deleted in one transaction
	sweepPause = 4    // times what that took, before the next if there are more
	sweepEvery = time.Minute
)

// startSweeper begins to sweep, for promises that are kept for so long.
func startSweeper(retention time.Duration, sweep func(context.Context) (more bool)) *sweeper {
	s := &sweeper{sweep: sweep, every: max(time.Millisecond, min(retention/4, sweepEvery))}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(s.every, s.run)
	return s
}

func (s *sweeper) run() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return
	}
	start := time.Now()
	next := s.every
	if s.sweep(s.ctx) {
		next = min(next, sweepPause*time.Since(start))
	}
	s.timer.Reset(next)
}

// stop ends the sweeping and returns when it has ended. A nil sweeper never began.
func (s *sweeper) stop() {
	if s == nil {
		return
	}
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	s.timer.Stop()
}

// deleteOld deletes what is older than the retention, up to a limit, and reports whether it came to that. An error is
// nobody's: what is not deleted now will be later.
func (d *database) deleteOld(ctx context.Context, pool *sql.DB) (more bool) {
	t := newTurn()
	if d.takeTurn(ctx, t, false, time.Now()) != nil {
		return false
	}
	defer d.writer.leave(t)
	n, err := d.dialect.DeleteCompleted(ctx, pool, time.Now().Add(-d.limits.keep), sweepMost)
	return err == nil && n == sweepMost
}
