package durable

import (
	"context"
	"time"
)

// WithClock is another process's Store on the same promises, whose clock is this one.
func WithClock(s Store, clock func() time.Time) Store { return &store{s.(*store).table, clock} }

// WithPause is a Store on the same promises that pauses each time it has read one.
func WithPause(s Store, pause func()) Store {
	return &store{&pausing{s.(*store).table, pause}, s.(*store).clock}
}

type pausing struct {
	table
	pause func()
}

func (p *pausing) read(ctx context.Context, id string) (*Promise, error) {
	defer p.pause()
	return p.table.read(ctx, id)
}
