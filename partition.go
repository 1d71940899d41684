package groupcommit

import (
	"container/list"
	"context"
	"fmt"
	"reflect"
	"sync"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/group"
)

// Partition lets only calls with equal keys share a group. key is called once for each call, in its caller's goroutine and
// with its context. A tenant's name is a good key, and nil is a key as well.
//
// It is for a program that prepares each connection from the caller's context before it is used, by pgx's OptionResetSession
// or by PrepareConn of a pgxpool: for row level security, or a search_path. For a group, such a hook then sees a context
// with the values of one of its calls, which no caller can cancel. For all other work (queries, transactions, calls that run
// alone) it sees its own caller's context, as on the plain driver, with Partition and without.
//
// Without the option, a group would have no caller's context to show. If the library can tell that there is such a hook, it
// uses no groups: each call runs alone, and the log says so once. If it cannot tell (another driver, a hook inside of a
// wrapper), Partition is needed, or a tenant's calls would be made with another tenant's session. If the hook reads nothing
// from the context that differs between callers, the function may return nil.
//
// Groups of different keys run side by side, each on its own connection, and none waits for another, as the calls would on
// the plain driver. [MaxQueue] bounds the calls of each key. A thousand keys with one caller each neither gain nor lose.
//
// A key must be comparable. A key that is not, or a panic in the function, is the call's error. An id ([WithID]) is unique
// in the database, whatever the key: if tenants choose their ids by themselves, the id must contain the tenant. Partition is
// not for handlers: the tenant of a [Command] belongs into its Value.
func Partition(key func(ctx context.Context) any) Option {
	return databaseOption(func(l *limits) error {
		if key == nil {
			return badOption("Partition", "nil", "a function")
		}
		l.partition = key
		return nil
	})
}

// keptPartitions is how many keys without a call are remembered. What their queues know of their callers is worth little.
const keptPartitions = 256

// partitions are the batchers of each key.
type partitions struct {
	mu     sync.Mutex
	byKey  map[any]*partition
	idle   list.List   // of *partition, the one that has been idle for longest first
	past   group.Stats // of the forgotten keys
	closed bool
}

// A partition has the batcher of one key's calls. It is used, and waited for, as that of a database without the option.
type partition struct {
	key     any
	batcher *batcher
	of      *partitions
	calls   int           // that have entered and not left; the partitions' mutex guards it
	idle    *list.Element // likewise; nil while there are calls
}

// batcherFor returns the batcher for a call with this context. Without the option, the partition is nil; with it, the call is in
// the partition until it leaves.
func (g *groups) batcherFor(ctx context.Context) (*partition, *batcher, error) {
	if g.limits.partition == nil {
		return nil, g.all, nil
	}
	key, err := g.limits.keyOf(ctx)
	if err != nil {
		return nil, nil, err
	}
	p, err := g.partitions.enter(key, g)
	if err != nil {
		return nil, nil, err
	}
	return p, p.batcher, nil
}

// keyOf calls the program's function.
func (l *limits) keyOf(ctx context.Context) (key any, err error) {
	err = engine.Guard(func() error {
		key = l.partition(ctx)
		return nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("groupcommit: option Partition: its function gave no key: %w", err)
	case key == nil:
	case !reflect.ValueOf(key).Comparable():
		return nil, fmt.Errorf("groupcommit: option Partition: its function gave a key of type %T, which cannot be compared; a comparable one is needed, such as a string", key)
	case key != key: // a NaN would be another key each time
		return nil, fmt.Errorf("groupcommit: option Partition: its function gave the key %v of type %T, which is not equal to itself", key, key)
	}
	return key, nil
}

func (ps *partitions) enter(key any, g *groups) (*partition, error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.closed {
		return nil, ErrClosed
	}
	p := ps.byKey[key]
	switch {
	case p == nil:
		if ps.byKey == nil {
			ps.byKey = make(map[any]*partition)
		}
		p = &partition{key: key, batcher: newBatcher(g, g.width), of: ps}
		ps.byKey[key] = p
	case p.idle != nil:
		ps.idle.Remove(p.idle)
		p.idle = nil
	}
	p.calls++
	return p, nil
}

// leave is called when a call is over. A call without a partition has a nil one.
func (p *partition) leave() {
	if p == nil {
		return
	}
	ps := p.of
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if p.calls--; p.calls > 0 {
		return
	}
	p.idle = ps.idle.PushBack(p)
	if ps.idle.Len() > keptPartitions {
		oldest := ps.idle.Remove(ps.idle.Front()).(*partition)
		delete(ps.byKey, oldest.key)
		oldest.addTo(&ps.past)
		ps.past.Lanes, ps.past.Once, ps.past.Each = 0, 0, 0 // what is of the present is gone
	}
}

func (p *partition) addTo(s *group.Stats) {
	own := p.batcher.queue.Stats()
	s.Add(&own)
}

// addTo adds the counters of all keys, those that were forgotten among them.
func (ps *partitions) addTo(s *group.Stats) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	s.Add(&ps.past)
	for _, p := range ps.byKey {
		p.addTo(s)
	}
}

// close refuses new calls and returns when every accepted call is answered.
func (ps *partitions) close() {
	ps.mu.Lock()
	ps.closed = true
	all := make([]*partition, 0, len(ps.byKey))
	for _, p := range ps.byKey {
		all = append(all, p)
	}
	ps.mu.Unlock()
	for _, p := range all {
		p.batcher.queue.Close()
	}
}

// groupContext is the context that hooks see for a group. It has the values of one of its calls if the calls are of one key,
// and else no values.
func (g *groups) groupContext(calls []*engine.Call) context.Context {
	if g.limits.partition == nil {
		return context.Background()
	}
	return context.WithoutCancel(calls[0].Context())
}
