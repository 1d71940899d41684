// Package flight keeps the calls with an id that are under way in this process, so that a second call with the same id can
// join the first instead of being executed beside it.
package flight

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"time"
)

var (
	// ErrOther says that a call which is under way has the id with another key. It is not known yet to whom the id belongs: that call may
	// fail, and the id may have been used before.
	ErrOther = errors.New("flight: a call that is under way has the id with another key")
	// ErrTaken says that the id belongs to another key, with which it has an outcome that is kept.
	ErrTaken = errors.New("flight: the id belongs to another key")
	// ErrLeft says that the context ended while another caller's call was under way. It is not known how that call will end.
	ErrLeft = errors.New("flight: the context ended while another call with the id was under way")
)

// A Map has the in-flight calls by their ids. A second call with an id that is in flight does not queue behind the first:
// it waits for the first one's outcome, which is its own. The latest outcomes are kept, so that a call that comes again
// soon finds its outcome at once.
//
//	call:  Begin → mine → executed by the caller ──────→ Complete ┬ Kept:   the callers that wait get the outcome, and later ones, too
//	          │                                                   ├ Shared: the callers that wait get it
//	          └ another's → waits ←───────────────────────────────┴ Own:    the callers that wait try again
//	                          ├ outcome
//	                          └ its context or its patience ends
//
// The calls are spread over several parts by their ids, so that callers seldom wait for each other.
type Map[O any] struct {
	keep  time.Duration
	parts [parts]part[O]
}

const parts = 16

type part[O any] struct {
	mu     sync.Mutex
	chains []*Flight[O] // under way, by their ids' hashes
	n      int          // in the chains
	spare  *Flight[O]   // those that no caller knows any more, by next
	spares int          // no more than most
	kept   kept[O]
}

var seed = maphash.MakeSeed()

// A Flight is one execution of a call, and all that wait for it. Its part's mutex guards the fields. out and own do not
// change once it is over; done does not change once a second caller has the flight.
type Flight[O any] struct {
	id, key string
	hash    uint64     // of the id: it is taken once
	next    *Flight[O] // in its chain

	done chan struct{} // closed when it is over; nil while only its first caller has the flight, and if it was over before
	out  O
	own  bool // the outcome is its first caller's alone
}

// ID is the call's id.
func (f *Flight[O]) ID() string { return f.id }

// Key is the key that the id belongs to.
func (f *Flight[O]) Key() string { return f.key }

// Keep says which callers an outcome is for.
type Keep uint8

const (
	// Own is for the first caller alone: its context ended, its argument panicked, its connection failed. Those that wait
	// try by themselves.
	Own Keep = iota
	// Shared is for the callers that wait, too. Later calls do not find it.
	Shared
	// Kept is for later calls, too, for as long as it is among the latest, and no longer than the map keeps them.
	Kept
)

// New returns a map that keeps outcomes for that long; 0 is for as long as there is room.
func New[O any](keep time.Duration) *Map[O] { return &Map[O]{keep: keep} }

func (m *Map[O]) part(hash uint64) *part[O] { return &m.parts[hash%parts] }

// Begin returns the flight with an id. mine says that it is new: the caller must have the call executed, and Complete it.
// Another's is for [Map.Follow]. The error is [ErrOther] or [ErrTaken].
func (m *Map[O]) Begin(id, key string) (f *Flight[O], mine bool, err error) {
	hash := maphash.String(seed, id)
	p := m.part(hash)
	p.mu.Lock()
	defer p.mu.Unlock()
	if f = p.find(hash, id); f != nil {
		if f.key != key {
			return nil, false, ErrOther
		}
		if f.done == nil {
			f.done = make(chan struct{})
		}
		return f, false, nil
	}
	if o := p.kept.find(hash, id, m.keep); o != nil {
		if o.key != key {
			return nil, false, ErrTaken
		}
		return &Flight[O]{id: id, key: key, out: o.out}, false, nil
	}
	return p.begin(hash, id, key), true, nil
}

func (p *part[O]) begin(hash uint64, id, key string) *Flight[O] {
	if p.n++; p.n > len(p.chains) {
		p.grow()
	}
	f := p.spare
	if f == nil {
		f = new(Flight[O])
	} else {
		p.spare = f.next
		p.spares--
	}
	f.id, f.key, f.hash = id, key, hash
	at := p.chain(hash)
	f.next, *at = *at, f
	return f
}

// chain has the flights whose ids' hashes have the same last bits.
func (p *part[O]) chain(hash uint64) **Flight[O] {
	return &p.chains[hash/parts%uint64(len(p.chains))]
}

// grow doubles the chains, of which there are never less than flights.
func (p *part[O]) grow() {
	old := p.chains
	p.chains = make([]*Flight[O], max(2*len(old), 16))
	for _, f := range old {
		for f != nil {
			next, at := f.next, p.chain(f.hash)
			f.next, *at = *at, f
			f = next
		}
	}
}

func (p *part[O]) find(hash uint64, id string) *Flight[O] {
	if p.n == 0 {
		return nil
	}
	f := *p.chain(hash)
	for f != nil && (f.hash != hash || f.id != id) {
		f = f.next
	}
	return f
}

func (p *part[O]) remove(f *Flight[O]) {
	at := p.chain(f.hash)
	for *at != f {
		at = &(*at).next
	}
	*at = f.next
	p.n--
}

// Complete ends a flight with its first caller's outcome. The caller then forgets the flight.
func (m *Map[O]) Complete(f *Flight[O], out *O, keep Keep) {
	p := m.part(f.hash)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remove(f)
	if keep == Kept {
		p.kept.add(f, out, m.keep)
	}
	switch {
	case f.done != nil:
		f.out, f.own, f.next = *out, keep == Own, nil
		close(f.done)
	case p.spares < most: // only the caller knows it
		*f = Flight[O]{next: p.spare}
		p.spare = f
		p.spares++
	}
}

// A Wait bounds the waiting for another caller's call beside the context. That call may be waiting for the one that waits: a
// function that SQL calls may execute the very call that it is a part of.
type Wait struct {
	Since    time.Time     // when the waiting call came
	Patience time.Duration // from then on; 0 is for as long as it takes
	Busy     error         // the error after that
}

// Follow returns the outcome of another's flight, which the caller has from Begin, or a new flight, which is the caller's to
// execute and to Complete. It waits for calls with the id, one after the other, until one of the two is there. The error is
// [ErrOther], [ErrTaken], [ErrLeft], or Wait's Busy.
func (m *Map[O]) Follow(ctx context.Context, f *Flight[O], w Wait) (mine *Flight[O], out O, err error) {
	for {
		if err := f.await(ctx, w); err != nil {
			return nil, out, err
		}
		if !f.own {
			return nil, f.out, nil
		}
		next, isMine, err := m.Begin(f.id, f.key)
		switch {
		case err != nil:
			return nil, out, err
		case isMine:
			return next, out, nil
		}
		f = next
	}
}

// await waits until another's flight is over. One that is over is found so whatever has become of the context.
func (f *Flight[O]) await(ctx context.Context, w Wait) error {
	if f.done == nil { // it was over when Begin found it
		return nil
	}
	select {
	case <-f.done:
		return nil
	default:
	}
	var limit <-chan time.Time
	if w.Patience > 0 {
		t := time.NewTimer(w.Patience - time.Since(w.Since))
		defer t.Stop()
		limit = t.C
	}
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return ErrLeft
	case <-limit:
		return w.Busy
	}
}
