// Package turn lets the writers of a database that has one writer at a time take turns, first come first served.
package turn

import (
	"context"
	"sync"
	"time"
)

// A Writer is the right to write to a database that has one writer at a time. A group, a write transaction, a RETURNING
// query or a schema change takes a turn on it, first come first served. So the database never sees two writers of this
// process at once, and never has to answer that it is locked.
//
// A turn may be tentative. A transaction that has only read so far might write later, and turns must keep its snapshot from
// going stale, which would fail that write. But it might also never write, and no writer should wait for long behind a mere
// reader. So a tentative turn can be overtaken once it is overtakeAfter old. Its transaction then behaves as on the plain
// driver.
//
// Rejected: a sync.Mutex, because a context cannot end a wait for it; and a channel of one token, which is not first come
// first served and does not know who holds it.
type Writer struct {
	mu       sync.Mutex
	holder   *Turn
	first    *Turn // the waiting turns, oldest first
	last     *Turn
	settling int  // writers that have left their turn, and wait until what they have written is durable
	crowd    int  // turns to come for which the writer counts as crowded
	watched  bool // a tentative holder's turn will be looked at when it is old
}

// crowdTurns is for how many turns a writer counts as crowded after one that met another.
const crowdTurns = 64

// overtakeAfter is how long a transaction that has not written keeps other writers away.
const overtakeAfter = time.Second

// A Turn belongs to one holder, which uses it again and again. The writer's mutex guards all fields but ready.
type Turn struct {
	tentative bool
	taken     time.Time
	waiting   bool
	next      *Turn
	ready     chan struct{} // cap 1: a token when the turn is handed over
}

// New returns a turn that is neither held nor waiting.
func New() *Turn { return &Turn{ready: make(chan struct{}, 1)} }

// Take waits for the turn until ctx is done, which gives its error, or until wait is over, which gives busy. A caller that
// wants only a tentative turn gives a channel. When that is closed, or after overtakeAfter, it goes on without a turn, like
// a transaction that was overtaken, because it may never write. A nil Writer gives the turn to every caller at once.
func (w *Writer) Take(ctx context.Context, t *Turn, enough <-chan struct{}, wait time.Duration, busy error) error {
	if w == nil {
		return nil
	}
	tentative := enough != nil
	w.mu.Lock()
	w.meet()
	if w.holder == nil {
		w.give(t, tentative)
		w.mu.Unlock()
		return nil
	}
	t.tentative, t.waiting, t.next = tentative, true, nil
	if w.last == nil {
		w.first = t
	} else {
		w.last.next = t
	}
	w.last = t
	w.watch()
	w.mu.Unlock()
	if tentative {
		wait, busy = min(wait, overtakeAfter), nil
	}
	return w.await(ctx, t, enough, wait, busy)
}

func (w *Writer) await(ctx context.Context, t *Turn, enough <-chan struct{}, wait time.Duration, busy error) error {
	limit := time.NewTimer(wait)
	defer limit.Stop()
	var err error
	select {
	case <-t.ready:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-enough:
	case <-limit.C:
		w.look()
		if w.abandon(t) {
			return busy
		}
		<-t.ready
		return nil
	}
	if w.abandon(t) {
		return err
	}
	<-t.ready // the turn was handed over meanwhile; it goes to the next
	w.Leave(t)
	return err
}

// watch has the holder's turn looked at when it is old, if it is tentative and another waits. One timer does for all that wait: each
// of thousands with one of its own would mean more looking than writing. The caller holds the mutex.
func (w *Writer) watch() {
	if w.watched || w.first == nil || w.holder == nil || !w.holder.tentative {
		return
	}
	w.watched = true
	time.AfterFunc(time.Until(w.holder.taken.Add(overtakeAfter)), func() {
		w.mu.Lock()
		w.watched = false
		w.mu.Unlock()
		w.look()
	})
}

// look gives the turn to the first that waits, if the holder's turn is tentative and old.
func (w *Writer) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.first != nil && w.holder != nil && w.holder.tentative && time.Since(w.holder.taken) >= overtakeAfter {
		w.handOver()
	}
	w.watch() // another may have it by now
}

// handOver gives the turn to the first that waits, if there is one. The caller holds the mutex.
func (w *Writer) handOver() {
	next := w.first
	if next == nil {
		return
	}
	w.unlink(next)
	w.give(next, next.tentative)
	next.ready <- struct{}{}
}

// TakeFree takes the turn if it is free.
func (w *Writer) TakeFree(t *Turn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holder != nil {
		return false
	}
	w.give(t, false)
	return true
}

// meet notes whether a turn meets another. The caller holds the mutex.
func (w *Writer) meet() {
	if w.holder != nil || w.first != nil || w.settling > 0 {
		w.crowd = crowdTurns
	} else if w.crowd > 0 {
		w.crowd--
	}
}

// Crowded reports that others write, too: one has met another at one of the latest turns. It may be wrong about a caller that
// has no turn yet, or about t that is the only one.
func (w *Writer) Crowded(t *Turn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.crowd > 0 || w.settling > 0 || w.first != nil || w.holder != nil && w.holder != t
}

// Settle calls wait, in which a writer that has left its turn waits until what it has written is durable.
func (w *Writer) Settle(wait func() error) error {
	w.settle(+1)
	defer w.settle(-1)
	return wait()
}

func (w *Writer) settle(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settling += n
}

// abandon takes t out of the waiting turns. False if t holds the turn already.
func (w *Writer) abandon(t *Turn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !t.waiting {
		return false
	}
	w.unlink(t)
	return true
}

// Pass makes the turn that from holds the turn of to, which neither holds one nor waits for one. False if from holds none.
func (w *Writer) Pass(from, to *Turn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holder != from {
		return false
	}
	w.give(to, from.tentative)
	w.watch()
	return true
}

// Firm makes a tentative turn one that cannot be overtaken. False if t has lost its turn, or never had it.
func (w *Writer) Firm(t *Turn) bool {
	if w == nil {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holder != t {
		return false
	}
	t.tentative = false
	return true
}

// Leave ends the turn and hands it to the turn that has waited longest. It does nothing for a t that was overtaken.
func (w *Writer) Leave(t *Turn) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holder != t {
		return
	}
	w.holder = nil
	w.handOver()
	w.watch()
}

// Free reports that no turn is held.
func (w *Writer) Free() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.holder == nil
}

func (w *Writer) give(t *Turn, tentative bool) {
	w.holder, t.tentative = t, tentative
	if tentative {
		t.taken = time.Now()
	}
}

func (w *Writer) unlink(t *Turn) {
	t.waiting = false
	var before *Turn
	for x := w.first; x != t; x = x.next {
		before = x
	}
	if before == nil {
		w.first = t.next
	} else {
		before.next = t.next
	}
	if w.last == t {
		w.last = before
	}
	t.next = nil
}
