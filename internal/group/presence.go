package group

import "time"

// presence is how many members there are, over time: those that were accepted, and are neither told nor withdrawn.
type presence struct {
	n    int           // now
	sum  float64       // over time, in ns
	some time.Duration // for how long there were any
	at   time.Time     // of these sums
}

// change notes that from now on there are so many more. A time before the last one counts for nothing: callers take it before they have
// the lock.
func (p *presence) change(now time.Time, by int) {
	if d := now.Sub(p.at); d > 0 {
		if p.n > 0 {
			p.sum += float64(p.n) * float64(d)
			p.some += d
		}
		p.at = now
	}
	p.n += by
}
