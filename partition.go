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

// Partition has only calls of equal keys share a group. key is called once for each call, with the context of the call and in
// its caller's goroutine; a tenant's name is a good key, and nil is one as well.
//
// It is for a program whose connections are prepared from the caller's context each time before they are used, by pgx's
// OptionResetSession or by PrepareConn of a pgxpool: for row level security, or a search_path. Such a hook then sees, for a
// group, a context with the values of one of its calls and of nobody's cancellation. For all else (queries, transactions, calls
// that run alone) it sees its own caller's context, as on the plain driver, with Partition and without.
//
// Without the option a group would have no caller's context to show. Where it can be told that there is such a hook,
// groups are not used: each call runs alone, and the log says so once. Where it cannot be told (another driver, a hook inside of a wrapper), Partition is
// needed, or a tenant's calls would be made with another tenant's session. A program whose hook asks the context for nothing
// that tells its callers apart says so by a function that returns nil.
//
// Groups of different keys run side by side, each on a connection of its own and none waiting for another, as the calls would on the
// plain driver; [MaxQueue] bounds the calls of each key. A thousand keys with one caller each gain nothing, and lose nothing.
//
// A key must be comparable. Another key, and a panic in the function, are the error of the call. An id ([WithID]) is one per database,
// whatever the key: tenants who choose their ids by themselves need the tenant in the id. Nor is Partition for handlers: what a
// [Command] is to be done for belongs into its Value.
func Partition(key func(ctx context.Context) any) Option {
	return databaseOption(func(l *limits) error {
		if key == nil {
			return badOption("Partition", "nil", "a function")
		}
		l.partition = key
		return nil
	})
}

// keptPartitions is how many keys without a call are remembered: what their lanes have learned of their callers is worth
// little.
const keptPartitions = 256

// partitions are the lanes of each key.
type partitions struct {
	mu     sync.Mutex
	byKey  map[any]*partition
	idle   list.List   // of *partition, the one that has been idle for longest first
	past   group.Stats // of those that were forgotten
	closed bool
}

// A partition is the lanes of one key's calls. They are used, and waited for, as those of a database without the option.
type partition struct {
	key   any
	lanes []*batcher
	of    *partitions
	calls int           // that have entered and not left; the partitions' mutex guards it
	idle  *list.Element // the same; nil while there are calls
}

// lanesFor returns the lanes for a call with this context. Without the option, the partition is nil; with it, the call is in the
// partition until it leaves.
func (g *groups) lanesFor(ctx context.Context) (*partition, []*batcher, error) {
	if g.limits.partition == nil {
		return nil, g.lanes, nil
	}
	key, err := g.limits.keyOf(ctx)
	if err != nil {
		return nil, nil, err
	}
	p, err := g.partitions.enter(key, g.newLanes)
	if err != nil {
		return nil, nil, err
	}
	return p, p.lanes, nil
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

func (ps *partitions) enter(key any, lanes func() []*batcher) (*partition, error) {
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
		p = &partition{key: key, lanes: lanes(), of: ps}
		ps.byKey[key] = p
	case p.idle != nil:
		ps.idle.Remove(p.idle)
		p.idle = nil
	}
	p.calls++
	return p, nil
}

// leave is called when a call is over. A nil partition is none's.
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
	}
}

func (p *partition) addTo(s *group.Stats) {
	for _, b := range p.lanes {
		s.Add(b.queue.Stats())
	}
}

// addTo adds the counters of all keys that there are and were.
func (ps *partitions) addTo(s *group.Stats) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	s.Add(ps.past)
	for _, p := range ps.byKey {
		p.addTo(s)
	}
}

// close refuses new calls and returns when every accepted one is answered.
func (ps *partitions) close() {
	ps.mu.Lock()
	ps.closed = true
	all := make([]*partition, 0, len(ps.byKey))
	for _, p := range ps.byKey {
		all = append(all, p)
	}
	ps.mu.Unlock()
	for _, p := range all {
		for _, b := range p.lanes {
			b.queue.Close()
		}
	}
}

// room waits until a group may have a connection, where promises lead groups of many keys at a time: nothing else bounds how
// many they are. It returns what ends the use.
func (b *batcher) room(execs []*exec) (leave func()) {
	g := b.of
	if g.limits.partition == nil || g.Writer != nil || !execs[0].detached {
		return func() {}
	}
	g.apartRoom <- struct{}{}
	return func() { <-g.apartRoom }
}

// groupContext is what the hooks see of a group: the values of one of its calls where all calls have the same to show, and else
// no values.
func (g *groups) groupContext(calls []*engine.Call) context.Context {
	if g.limits.partition == nil {
		return context.Background()
	}
	return context.WithoutCancel(calls[0].Context())
}
