// Package syncer makes what many writers have written to one file durable by few syncs. It knows no database.
package syncer

import (
	"sync"
	"sync/atomic"
)

// A Syncer shares the syncs of one file. A writer that has written, and wants to know that what it wrote is durable, calls
// Wait. Those that come while a sync is under way form the next round, which is one sync for all of them: the writes that a
// sync does not cover for certain are those that came after it had begun.
//
//	writer A  write  Wait [--- sync 1 ---]
//	writer B         write  Wait .........[--- sync 2 ---]
//	writer C           write  Wait .......[              ]
//
// A sync that fails is final: the system reports the loss of a page once, and a later sync may succeed without it. So every
// Wait fails from then on, until Heal says that all that was written is durable by another way.
//
// There is no goroutine of the Syncer's own: the first writer of a round runs its sync. Rejected: two syncs at a time, which
// make more and smaller rounds, and need a second descriptor, because an error is reported once to each.
type Syncer struct {
	sync func() error

	mu      sync.Mutex
	running *round       // nil while no sync is under way
	next    *round       // those that wait for the one that is
	failed  error        // since a sync has failed
	closing bool         // Close was called
	closed  bool         // and no round syncs any more
	written atomic.Int64 // times that was written
	durable int64        // of these, the ones that are durable
}

// A round is a sync, and those that it is for.
type round struct {
	over chan struct{}
	err  error // written before over is closed
}

// New returns a Syncer for a sync, which is called by one goroutine at a time.
func New(sync func() error) *Syncer { return &Syncer{sync: sync} }

// Wait returns when all that was written before is durable, or the error of a sync because of which that cannot be known.
func (s *Syncer) Wait() error {
	s.mu.Lock()
	r, first := s.next, false
	if r == nil {
		r, first = &round{over: make(chan struct{})}, true
		s.next = r
	}
	running := s.running
	s.mu.Unlock()
	if first {
		if running != nil {
			<-running.over
		}
		s.run(r)
	} else {
		<-r.over
	}
	return r.err
}

// run runs a round's sync.
func (s *Syncer) run(r *round) {
	s.mu.Lock()
	s.running, s.next = r, nil
	written := s.written.Load()
	r.err = s.failed
	syncs, last := r.err == nil && !s.closed, s.closing
	s.mu.Unlock()
	if syncs {
		r.err = s.sync()
	}
	s.mu.Lock()
	s.running = nil
	if r.err == nil {
		s.durable, s.closed = written, last
	} else {
		s.failed, s.closing = r.err, false
	}
	s.mu.Unlock()
	close(r.over)
}

// Wrote says that something was written that may need a sync.
func (s *Syncer) Wrote() { s.written.Add(1) }

// Settled reports that all that Wrote was told of is durable.
func (s *Syncer) Settled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.durable == s.written.Load()
}

// Behind reports that callers of Wait are behind a sync that is under way.
func (s *Syncer) Behind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running != nil && s.next != nil
}

// Close makes durable what was written, and has the Syncer sync no more: what it syncs can then be closed. A Wait that comes later, for
// something that was written before, is answered at once. After an error of Close nothing has changed, but that a sync has failed.
func (s *Syncer) Close() error {
	s.mu.Lock()
	s.closing = s.failed == nil
	if s.closing && s.running == nil && s.next == nil && s.durable == s.written.Load() {
		s.closed = true
	}
	err, closed := s.failed, s.closed
	s.mu.Unlock()
	if err != nil || closed {
		return err
	}
	return s.Wait()
}

// Failed is the error of the sync that has failed, or nil.
func (s *Syncer) Failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// Heal has the Syncer sync again. The caller knows that all that was written before is durable, and that nothing was written
// meanwhile.
func (s *Syncer) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = nil
}
