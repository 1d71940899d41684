package flight

import "time"

// kept has the latest outcomes of a part, each in the place of the oldest. The chains are small and lie together, apart from
// the outcomes: what is read from all over the memory takes longer than the rest of a flight.
type kept[O any] struct {
	heads    []uint16 // of the chains, by the ids' hashes: an outcome's place, counted from 1
	links    []link   // of the outcomes, at their places
	outcomes []outcome[O]
	next     int // the place of the oldest, once there is no room
}

// link is an outcome's place in its chain.
type link struct {
	hash uint32 // the half of the id's hash that does not choose the chain
	head uint16 // the chain
	next uint16 // as in heads
}

type outcome[O any] struct {
	id, key string // id is empty if the outcome is in no chain
	out     O
	at      time.Time // when it came; not set if the map keeps outcomes as long as there is room
}

const (
	// most is how many outcomes a part keeps, of some 200 bytes and the id each: with all the parts the latest 10,000, though no
	// part has its exact share of them.
	most   = 12_000 / parts
	chains = 1024
)

// linkOf is the link of an outcome that becomes the first of its chain.
func (k *kept[O]) linkOf(hash uint64) link {
	head := uint16(hash / parts % chains)
	return link{uint32(hash >> 32), head, k.heads[head]}
}

// find returns the outcome of an id that is kept. It forgets one that was kept for that long; 0 is for as long as there is room.
func (k *kept[O]) find(hash uint64, id string, keep time.Duration) *outcome[O] {
	if len(k.outcomes) == 0 {
		return nil
	}
	want := k.linkOf(hash)
	for at := want.next; at != 0; at = k.links[at-1].next {
		if k.links[at-1].hash != want.hash || k.outcomes[at-1].id != id {
			continue
		}
		if o := &k.outcomes[at-1]; keep == 0 || time.Since(o.at) < keep {
			return o
		}
		k.forget(at)
		break
	}
	return nil
}

// add keeps the outcome of a flight, whose id has none, in the place of the oldest.
func (k *kept[O]) add(f *Flight[O], out *O, keep time.Duration) {
	if k.heads == nil {
		k.heads = make([]uint16, chains)
	}
	i := k.next
	if len(k.outcomes) < most {
		i = len(k.outcomes)
		k.outcomes, k.links = append(k.outcomes, outcome[O]{}), append(k.links, link{})
	} else {
		k.next = (i + 1) % most
		if k.outcomes[i].id != "" {
			k.forget(uint16(i + 1))
		}
	}
	o := &k.outcomes[i]
	o.id, o.key, o.out = f.id, f.key, *out
	if keep > 0 {
		o.at = time.Now()
	}
	l := k.linkOf(f.hash)
	k.links[i], k.heads[l.head] = l, uint16(i+1)
}

// forget takes the outcome at a place out of its chain, and lets go of what it holds.
func (k *kept[O]) forget(place uint16) {
	l := k.links[place-1]
	at := &k.heads[l.head]
	for *at != place {
		at = &k.links[*at-1].next
	}
	*at = l.next
	k.outcomes[place-1] = outcome[O]{}
}
