package durable

import "time"

// WithClock is another process's Store on the same promises, whose clock is this one.
func WithClock(s Store, clock func() time.Time) Store { return &store{s.(*store).table, clock} }
