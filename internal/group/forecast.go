package group

import "time"

// A forecast says how long a group should take, and from when on it is late: it waits for a lock, for a disk that
// stutters, for a network that is silent. Then it does not keep the other members waiting. Another leader takes what is queued,
// and the late group counts for no lane any more. As soon as groups take longer as a rule, the forecast says so, and they are
// not late.
//
// It is reckoned as TCP reckons when a packet is lost: a moving average, and four times the mean deviation from it. It is not
// less than three times the average, because a group that is late for nothing costs a commit. A group's time is what it pays once
// and what each member adds, both learned.
//
// A lone member may be of a kind that waits for a lock each time, beside others that do not. When the lock is let go, hundreds
// of them may be over at once, and move any average. So a lone member is late, too, when it takes many times as long as the
// fastest one of late.
type forecast struct {
	once, each float64 // of groups of several, in ns
	best       float64 // the least that a group has paid once, forgotten slowly: the first ones open connections
	lone       float64 // of a group of one
	fastest    lowest  // of these
	off        float64 // mean deviation of groups of several, as a part of their forecast
	offLone    float64
	largest    int              // group so far
	groups     int              // of several
	last       [dearFew]float64 // what each member added to the last of these
}

const (
	// worth is how many times what a group pays once its members may take together: more would save less than a thirtieth.
	worth = 32
	// fewest is how many members may always share a group: from one alone nothing is learned of what each adds.
	fewest = 2
)

// most is how many members may share a group. As long as little is known, groups grow by doubling.
func (f *forecast) most() int {
	n := 2 * max(fewest, f.largest)
	if f.each > 0 && f.best > 0 {
		n = min(n, int(worth*f.best/f.each))
	}
	return max(fewest, n)
}

// cheap is the part of what a group pays once below which a member is cheap, and costFew is how many groups leave no doubt. The first
// ones prepare statements.
const (
	cheap   = 1.0 / 8
	costFew = 4
)

// dearFew is how many groups in a row must have had dear members. A machine that stutters holds up one or two.
const dearFew = 3

// dear returns what each member takes its group, if that is much beside what it saves; or else 0. sure says that there is no doubt
// of it.
func (f *forecast) dear() (each float64, sure bool) {
	each = f.each
	for _, e := range f.last[:min(f.groups, dearFew)] {
		each = min(each, e)
	}
	if each <= cheap*f.best {
		return 0, false
	}
	return each, each > f.best || f.groups >= costFew
}

// of returns how long a group of so many may take; first is the answer before the first group.
func (f *forecast) of(n int, first time.Duration) time.Duration {
	is, off := f.lone, f.offLone
	if n > 1 {
		is, off = f.once+float64(n)*f.each, f.off
	}
	if is == 0 {
		return first
	}
	limit := is * max(3, 1+4*off)
	if n == 1 {
		limit = min(limit, mostLone*f.fastest.get())
	}
	return time.Duration(limit)
}

// mostLone is how many times as long as the fastest a lone member may take: more than a busy server makes of a short one.
const mostLone = 8

// ran notes how long a group took that is over, and its members together if that is known.
func (f *forecast) ran(now time.Time, n int, took, members time.Duration) {
	if n == 1 {
		f.fastest.note(now, float64(max(1, took)))
		deviate(&f.offLone, float64(took), f.lone)
		average(&f.lone, float64(took), 1.0/8)
		return
	}
	deviate(&f.off, float64(took), f.once+float64(n)*f.each)
	once := float64(max(1, took-members))
	average(&f.once, once, 1.0/8)
	if f.best == 0 || once < f.best {
		f.best = once
	} else {
		average(&f.best, once, 1.0/32)
	}
	each := float64(members) / float64(n)
	f.last[f.groups%dearFew] = each
	if f.each == 0 {
		f.each = each
	} else {
		f.each += (each - f.each) / 4 // it is a mean already
	}
	f.largest = max(f.largest, n)
	f.groups++
}

// deviate notes by what part of it a forecast was wrong.
func deviate(off *float64, took, was float64) {
	if was > 0 {
		average(off, min(1, max(took-was, was-took)/was), 1.0/4)
	}
}

// average moves a moving average. Its first value is the first that it sees, and no value counts for more than four times the
// average, so that one stall counts little.
func average(mean *float64, x, weight float64) {
	if *mean == 0 {
		*mean = x
		return
	}
	*mean += (min(x, 4**mean) - *mean) * weight
}

// lowest is the lowest of the values of the last one or two spans. Values that come all at once are of one span, and so do not
// displace a lower one of before.
type lowest struct {
	now, before float64
	until       time.Time // the end of the span
}

const lowestSpan = time.Second

func (l *lowest) note(now time.Time, x float64) {
	switch {
	case !now.Before(l.until):
		l.before, l.now, l.until = l.now, x, now.Add(lowestSpan)
	case x < l.now:
		l.now = x
	}
}

func (l *lowest) get() float64 {
	if l.before == 0 {
		return l.now
	}
	return min(l.now, l.before)
}
