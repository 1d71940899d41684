package group

import "time"

// A breadth finds how many groups should run side by side: how many lanes a queue has.
//
// One lane is the best where members are short beside what a group pays once, or where the server has no power left: two
// groups of half the size pay twice. Many lanes are the best where members take the server's time but not its power (they
// wait for a disk, for a lock), or where the server is far away: that is how the plain driver's connections work. Which of the
// two it is cannot be seen from one lane. The time that members wait grows with their number in either case, and more lanes
// make members slower in either case. So a breadth tries: it gives the queue more lanes or fewer for a moment, and compares how
// long a member takes on the whole, from the moment it is queued until it is answered. By Little's law that is the number of
// members under way, divided by the rate at which they are answered.
//
// A trial of more lanes is kept if members take clearly less time; a trial of fewer is kept if they take no more. A trial that
// paid is followed at once by a larger step. One that did not costs the members that took part in it. So the next trial waits
// until it costs one part in a hundred of the time. If members suddenly take much more time, or much less, the program does
// something else: both directions are tried at once. Where what is under way takes long in the lanes that there are, steps would,
// too: then the first trial has a lane for each member.
//
// Rejected: a lane more whenever a member has waited for as long as a lone one takes. On a busy server each lane makes the
// others slower, and the waiting justifies itself: short statements stay spread at a tenth of the rate of one lane.
// Rejected: a limit that is computed from what a group pays once and what each member adds. It cannot know whether the server
// has power for another lane.
//
// The queue's mutex guards it.
type breadth struct {
	most   int        // lanes; at least 1
	room   func() int // for how many groups there is room
	singly bool       // with more than one lane each member runs by itself: then one lane and as many as members are all that there is
	width  int        // lanes of now
	bound  int        // the most lanes, by most and the room of now
	phase  phase
	home   int // lanes before the trial; 0 if there is none
	away   int // lanes of the trial

	each    float64 // what a member takes its group, if that is much beside what it saves; or else 0
	dear    int     // groups in a row at home whose members cost more than they save; below 0 as many are still to be of the trial before
	usual   float64 // how long a member takes at home, moving average, in ns; 0 before the first slice
	load    float64 // members under way meanwhile
	steady  bool    // the last slice at home was like those before
	here    float64 // how long a member takes at home, for the trial
	there   float64 // how long a member took in the trial
	leapt   bool    // the trial began with a leap: home has not been measured since members became dear
	up      bool    // the direction of the next trial
	wider   int     // the step of a trial of more lanes, a factor
	fewer   int     // and of fewer
	strange int     // slices in a row that were unlike those before
	failed  int     // trials in a row that did not pay
	next    time.Time

	full  int           // the bound that has held the lanes back; 0 if none has
	grown time.Time     // from then on it is tried at once whether more room helps
	pause time.Duration // until that is done again

	slice slice
}

// phase is what a slice measures.
type phase uint8

const (
	atHome  phase = iota
	opening       // the first slice of a trial, in which connections are opened
	trying
	checking // home again, because the trial has paid but little or began with a leap: the machine may have been busy before
)

// A slice is one measurement.
type slice struct {
	since   time.Time // the slice before was over; groups of that time tell nothing of this one
	groups  int       // that are over; the first of each lane may be of the time before
	from    presence  // when the first ones were over
	counted int       // groups since then
	members int       // of these
	load    float64   // members under way, summed over these groups
}

const (
	// A slice is longer than a machine's hiccups, and has some members of each caller; where that would take long, fewer do.
	sliceLeast   = 20 * time.Millisecond
	sliceMost    = 100 * time.Millisecond
	sliceMembers = 32
	sliceGroups  = 4 // of each lane
	// paysUp is the part of a member's time that more lanes must leave at the most to be kept, paysDown the same for fewer.
	// Fewer lanes are connections saved, and what seems equal is often better.
	paysUp   = 0.93
	paysDown = 1.0
	// plain is the part that leaves no doubt.
	plain = 0.7
	// other is the factor by which members must take more time, or less, for the program to be doing something else.
	other = 1.5
	// strange is how many slices in a row may be unlike the others.
	strange = 1
	// same is the factor within which slices say the same.
	same = 1.2
	// stepMost bounds the growth of steps.
	stepMost = 8
	// trialShare is the part of the time that the first trial may take that did not pay, fullShare the part where there are all lanes
	// already, which is no slower than the plain driver, and trialLeast the part after many;
	// lossShare is the part of the members' time that a trial may cost.
	trialShare = 1.0 / 20
	fullShare  = 1.0 / 50
	trialLeast = 1.0 / 400
	lossShare  = 1.0 / 100
	// longest is the longest time without a trial.
	longest = 24 * time.Hour
	// roomFirst is how long it takes until more room is tried at once again, and roomMost when it has come and gone often.
	roomFirst = time.Second
	roomMost  = time.Minute
)

func newBreadth(most int, singly bool, room func() int) breadth {
	return breadth{most: max(1, most), room: room, singly: singly, width: 1, up: true, wider: 2, fewer: 2}
}

// lanes is how many groups may run at the same time.
func (b *breadth) lanes() int { return b.width }

// ask asks for the room of now. A lane without room would only keep its members from a group that has some.
func (b *breadth) ask() { b.bound = max(1, min(b.most, b.room())) }

// share is how many of so many members a group should take, when as many are under way in other lanes.
func (b *breadth) share(waiting, elsewhere int) int {
	return (waiting + elsewhere + b.width - 1) / b.width
}

// over is a group that is over.
type over struct {
	began, ended time.Time
	members      int
	presence             // its own members among them
	each         float64 // what each member takes its group, if that is much beside what it saves; or else 0
	dear         bool    // there is no doubt of it
}

// observe notes a group that is over. mayWiden says that more lanes may be tried.
func (b *breadth) observe(g over, mayWiden bool) {
	if b.most == 1 {
		return
	}
	now := g.ended
	b.each = g.each
	if g.members > 1 && b.dears(g.dear) && b.leap(now, float64(g.n)) {
		return
	}
	s := &b.slice
	if s.groups++; s.groups <= b.width || s.counted == 0 && g.began.Before(s.since) {
		s.from = g.presence
		return
	}
	s.counted++
	s.members += g.members
	s.load += float64(g.n)
	lasted := g.some - s.from.some
	mean := s.load / float64(s.counted)
	long := lasted >= sliceMost
	enough := lasted >= sliceLeast && s.counted >= sliceGroups*b.width && s.members >= sliceMembers && float64(s.members) >= 2*mean
	if !enough && (!long || s.counted < 2*b.width) {
		return
	}
	each := (g.sum - s.from.sum) / float64(s.members)
	b.slice = slice{since: now}
	if b.ask(); b.width > b.bound {
		b.cut()
		return
	}
	switch b.phase {
	case atHome:
		b.settle(now, each, mean)
		b.grow(now, mean)
		if (b.steady || long) && !now.Before(b.next) {
			b.try(mean, mayWiden)
			if long && b.phase == opening && b.away < b.home { // no connection is opened
				b.phase = trying
			}
		}
	case opening:
		b.phase = trying
	case trying:
		b.judge(now, each, mean, lasted)
	case checking:
		b.check(now, each, mean, lasted, g.dear)
	}
}

// dears counts a group of several, and reports that members have become dear. A group of a trial does not count: beside more groups
// members take longer.
func (b *breadth) dears(is bool) bool {
	switch {
	case b.phase != atHome:
		b.dear = -b.away
	case b.dear < 0 || is:
		b.dear++
	default:
		b.dear = 0
	}
	return b.dear == dearFew
}

// leap begins a trial of as many lanes as there are members, as soon as members have become dear. Home is what it would be by
// what each member takes.
func (b *breadth) leap(now time.Time, load float64) bool {
	b.ask()
	to := b.all(load)
	b.here = b.together(load)
	if to == b.width || b.here < other*b.usual {
		return false
	}
	if b.usual == 0 {
		b.usual = b.here
	}
	b.load, b.up, b.leapt = load, true, true
	b.home, b.away, b.width, b.phase, b.slice = b.width, to, to, opening, slice{since: now}
	return true
}

// cut ends the lanes for which there is no room any more.
func (b *breadth) cut() {
	b.width, b.full = b.bound, b.bound
	if b.home > 0 { // of a trial, which has told nothing
		b.width = min(b.width, b.home)
	}
	b.phase, b.home, b.usual = atHome, 0, 0
}

// grow has more lanes tried at once, if members could have used some for which there has been no room before. Room that comes and goes,
// as with a server that refuses now and then, would otherwise cost a trial each time; so the pause grows.
func (b *breadth) grow(now time.Time, load float64) {
	switch {
	case b.full > 0 && b.bound > b.full && load > float64(b.full)+0.5 && !now.Before(b.grown):
		if now.Sub(b.grown) > roomMost {
			b.pause = 0
		}
		b.pause = min(max(roomFirst, 2*b.pause), roomMost)
		b.full, b.grown, b.up = 0, now.Add(b.pause), true
		b.hurry(now)
	case b.width == b.bound && load > float64(b.width)+0.5:
		b.full = b.bound
	}
}

// settle notes a slice at home.
func (b *breadth) settle(now time.Time, each, load float64) {
	b.steady = alike(b.usual, each, same) && alike(b.load, load, same)
	switch {
	case b.usual == 0:
		b.usual, b.load = each, load
		b.hurry(now)
	case alike(b.usual, each, other) && alike(b.load, load, other):
		b.usual += (each - b.usual) / 4
		b.load += (load - b.load) / 4
		b.strange = 0
	case b.strange < strange:
		b.strange++ // perhaps it was the machine
	default:
		b.up = each > b.usual
		b.usual, b.load, b.strange = each, load, 0
		b.hurry(now)
	}
}

// hurry has both directions tried at once.
func (b *breadth) hurry(now time.Time) {
	b.next, b.wider, b.fewer, b.failed = now, 2, 2, 0
}

// judge ends a trial. If the number of callers has changed meanwhile it has told nothing.
func (b *breadth) judge(now time.Time, each, load float64, lasted time.Duration) {
	if b.there = each; !alike(b.load, load, other) {
		b.there = b.here
	}
	switch {
	case !b.pays(b.here):
		b.width = b.home
		b.reject(now, lasted)
	case each < plain*b.here && !b.leapt:
		b.accept(now, load, lasted)
	default:
		b.width, b.phase = b.home, checking
	}
}

// check ends a trial that has paid but little, or that began with a leap. Members for which a leap was made must be dear still.
func (b *breadth) check(now time.Time, each, load float64, lasted time.Duration, dear bool) {
	if b.pays(each) && alike(b.load, load, other) && (dear || !b.leapt) {
		b.width = b.away
		b.accept(now, load, lasted)
		return
	}
	b.usual, b.here, b.load = each, each, load
	b.reject(now, lasted)
}

// pays reports that the trial is better than home, where a member takes so long.
func (b *breadth) pays(home float64) bool {
	if b.away > b.home {
		return b.there < paysUp*home
	}
	return b.there < paysDown*home
}

func (b *breadth) accept(now time.Time, load float64, lasted time.Duration) {
	b.phase, b.home = atHome, 0
	b.usual, b.load, b.failed, b.next = b.there, load, 0, now
	if b.up && b.to(load) == b.width { // the other direction has just been left
		wait := float64(2*lasted) / fullShare
		if b.singly { // one lane again: its groups take what all members take together
			wait = max(wait, sliceGroups*load*b.each/lossShare)
		}
		b.next = now.Add(time.Duration(min(wait, float64(longest))))
	}
	b.steady = true
	b.stride()
}

func (b *breadth) reject(now time.Time, lasted time.Duration) {
	b.phase, b.home = atHome, 0
	b.failed++
	b.stride()
	b.up = !b.up
	if b.up && b.there > same*b.here && b.to(b.load) == b.width { // a larger step is worse still, and there is no other direction
		b.failed, b.up = 2, false
	}
	if b.failed < 2 {
		b.next = now
		return
	}
	part := max(trialLeast, trialShare/float64(b.failed*b.failed))
	wait := max(1/part, (b.there/b.here-1)/lossShare)
	b.next = now.Add(time.Duration(min(wait*float64(2*lasted), float64(longest))))
}

// stride makes the next step in the direction of the last trial a larger one: what has paid may pay more, and what has not may
// have been too little to show.
func (b *breadth) stride() {
	step := &b.fewer
	if b.up {
		step = &b.wider
	}
	if *step *= 2; *step > stepMost {
		*step = 2
	}
}

// try begins a trial, if there is anything to try.
func (b *breadth) try(load float64, mayWiden bool) {
	for range 2 {
		to := b.to(load)
		if b.up && !mayWiden {
			to = b.width
		}
		if to != b.width {
			b.here = b.usual
			b.home, b.away, b.width, b.phase, b.leapt = b.width, to, to, opening, false
			return
		}
		b.up = !b.up
	}
}

// to is how many lanes the next trial is to have, if so many members are under way.
func (b *breadth) to(load float64) int {
	used := min(float64(b.width), load)
	switch {
	case b.up && (b.singly || b.failed == 0 && b.together(load) > float64(sliceMost)):
		return b.all(load)
	case b.singly:
		return 1
	case b.up && load > float64(b.width)+0.5:
		return min(b.width*b.wider, b.bound, int(load+0.5))
	case !b.up && used >= 2:
		return max(1, int(used)/b.fewer)
	}
	return b.width
}

// all is a lane for each member.
func (b *breadth) all(load float64) int { return max(b.width, min(b.bound, int(load+0.5))) }

// together is how long so many members take the lanes of now by what each takes its group.
func (b *breadth) together(load float64) float64 { return load * b.each / float64(b.width) }

// alike reports that neither is larger than the other by more than a factor.
func alike(a, b, by float64) bool { return a <= b*by && b <= a*by }
