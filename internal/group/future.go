package group

import (
	"context"
	"sync/atomic"
)

// A Future is settled once. Any number of goroutines may wait for that. The zero value is not settled. Its channel is made
// when a goroutine asks for it: most futures are settled without one.
type Future struct {
	done atomic.Pointer[chan struct{}] // &settled, or what Done has made, or nil
}

// settled is closed.
var settled = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Settle settles the future. It is called once. What was written before is seen by all that have seen it settled.
func (f *Future) Settle() {
	if asked := f.done.Swap(&settled); asked != nil {
		close(*asked)
	}
}

// Settled reports that Settle was called.
func (f *Future) Settled() bool { return f.done.Load() == &settled }

// Done is closed when the future is settled.
func (f *Future) Done() <-chan struct{} {
	for {
		if done := f.done.Load(); done != nil {
			return *done
		}
		if done := make(chan struct{}); f.done.CompareAndSwap(nil, &done) {
			return done
		}
	}
}

// Wait returns nil when the future is settled, or the context's error if that ends first.
func (f *Future) Wait(ctx context.Context) error {
	if f.Settled() {
		return nil
	}
	ended := ctx.Done()
	if ended == nil {
		<-f.Done()
		return nil
	}
	select {
	case <-f.Done():
		return nil
	case <-ended:
		return ctx.Err()
	}
}
