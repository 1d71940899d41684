package physical

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
)

// warmFor bounds how long a connection is kept from the inner pool, which looks after lifetimes.
const warmFor = time.Second

// warm are the connections that are kept from the inner pool for the next writer, or for the caller that has opened the
// database.
type warm struct {
	n atomic.Int64 // how many there are, for a look without the lock

	mu      sync.Mutex // guards the rest
	most    int        // how many may be kept for writers
	leases  []Lease
	watched bool // coolOld will be called
}

// take returns the latest, if it is kept for any caller or for that of ctx.
func (w *warm) take(ctx context.Context) (l Lease, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := len(w.leases) - 1
	if last < 0 || w.leases[last].ctx != nil && !same(w.leases[last].ctx, ctx) {
		return Lease{}, false
	}
	l = w.leases[last]
	w.leases[last] = Lease{}
	w.leases = w.leases[:last]
	w.n.Add(-1)
	l.ctx = nil
	return l, true
}

// same reports that two contexts are one.
func same(a, b context.Context) bool { return reflect.TypeOf(a).Comparable() && a == b }

// put keeps a connection in the place of the one that was kept for longest, and returns that, or none.
func (w *warm) put(l Lease) Lease {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.most == 0 {
		return l
	}
	w.leases = append(w.leases, l)
	w.watch()
	if len(w.leases) <= w.most {
		w.n.Add(1)
		return Lease{}
	}
	l = w.leases[0]
	w.leases = append(w.leases[:0], w.leases[1:]...)
	return l
}

// add keeps a connection, however many there are.
func (w *warm) add(l Lease) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leases = append(w.leases, l)
	w.watch()
	w.n.Add(1)
}

// coolAll gives all back to the inner pool.
func (w *warm) coolAll() {
	if w.n.Load() == 0 {
		return
	}
	w.mu.Lock()
	leases := w.leases
	w.leases = nil
	w.n.Add(-int64(len(leases)))
	w.mu.Unlock()
	for _, l := range leases {
		l.pooled.Close()
	}
}

// watch has a connection go back after warmFor also where one borrower is busy for ever, with a connection of its own, and
// no other is. The mutex is the caller's.
func (w *warm) watch() {
	if !w.watched {
		w.watched = true
		time.AfterFunc(warmFor, w.coolOld)
	}
}

func (w *warm) coolOld() {
	w.mu.Lock()
	var old, young []Lease
	for _, l := range w.leases {
		if time.Since(l.since) < warmFor {
			young = append(young, l)
		} else {
			old = append(old, l)
		}
	}
	w.leases = young
	w.n.Add(-int64(len(old)))
	w.watched = false
	if len(young) > 0 {
		w.watch()
	}
	w.mu.Unlock()
	for _, l := range old {
		l.pooled.Close()
	}
}
