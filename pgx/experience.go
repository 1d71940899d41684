package pgx

import "time"

// An experience is what is known of one statement text. memory guards it.
//
//	in groups ── three samples in a row cost more than a group saves ──→ apart
//	apart     ── those of three trials cost less than half of that ────→ in groups
//	in groups ── a call waits for a lock in a transaction ─────────────→ in the autocommit pipeline, for a while
//	in the pipeline ── a call waits for a lock there, too ─────────────→ apart, and then in the pipeline again
//
// Between the half and the whole both ways cost about the same, and a text stays where it is.
//
// A text that is apart is tried again: a few of its calls go into the queue at once. The first may lead and so run alone; the
// others are a group, whose gaps are samples. The trials come the seldomer the longer nothing changes. One that finds the text
// short is repeated at once: its answers may have come together, because the machine had something else to do.
type experience struct {
	failing float64       // the part of its calls that fail, moving average
	cost    time.Duration // of one more call in a group, moving average; 0: not known
	calls   int           // that have been in groups
	streak  int           // samples in a row that speak for the other place

	most int // rows that one of its calls can have; 0: its text has not been read

	apart  bool
	locked bool          // it is apart because its calls wait for locks
	since  time.Time     // when it became so, or ceased to be
	pause  time.Duration // before the next trial
	next   time.Time     // when that is
	asked  int           // calls since the last trial
	letIn  int           // calls of the trial that are still to go into the queue
	tries  int           // calls of the trial that are still to go into a group
	heard  int           // samples of the trial; while it is apart there are no others

	many manyExperience

	piped  time.Time     // until when its calls go by the autocommit pipeline
	rest   time.Duration // how long that was
	window int           // how many of its calls may be in one pipeline; 0: all
	waits  int           // pipelines in a row in which one of its calls waited for a lock
	first  time.Time     // when the first of them was
	lot    int           // how many of its calls may be in one transaction; 0: all
	round  int           // the group that is being routed
	used   int           // how many of its calls are in that one's transaction
}

const (
	// enoughSlow is how many samples in a row make a text slow: one may be the machine's fault, and the next one still.
	enoughSlow = 3
	// trialCalls go into the queue for a trial: one that leads, and two that are a group.
	trialCalls = 3
	// enoughShort samples in a row bring it back: those of three trials.
	enoughShort = 3 * trialSamples
	// trialSamples are those of one trial.
	trialSamples = trialCalls - 1
	// trialShare: at most one call in so many is in a trial, but for those that repeat one which has found the text short. Such a call
	// takes three times as long as others, so that with one in 200 the slowest hundredth is hardly another.
	trialShare = 200

	// A text that has changed is to be in its right place within two seconds: the longest pause, and as much again for the
	// calls that are under way.
	pauseFirst = 250 * time.Millisecond
	pauseMost  = time.Second

	// restMost is the longest time in the pipeline after one lock conflict, which costs its group LockTimeout at the worst: a
	// fiftieth of it, unless the program has set another.
	restMost = 10 * time.Second

	// mostWaits is how many calls of a text, one after the other, may wait for a lock in the pipeline of one group. Then the
	// others are put off. One or two may wait for a transaction of the text's own that is about to be over.
	mostWaits = 3

	windowMost = 1 << 10
)

// note notes a sample. once is what a group pays once, or at least what counts as that.
func (e *experience) note(d, once time.Duration, now time.Time) {
	if e.apart {
		if e.heard == trialSamples { // of a group that had begun before
			return
		}
		e.heard++
	}
	switch {
	case e.cost == 0:
		e.cost = max(d, 1)
	case d < e.cost:
		e.cost = max((e.cost+d)/2, 1)
	default: // slowly: it may have waited for a lock, or for the machine
		e.cost += (min(d, 2*e.cost) - e.cost) / 8
	}
	if e.apart && 2*d < once || !e.apart && d > once {
		e.streak++
	} else {
		e.streak = 0
	}
	switch {
	case !e.apart && e.streak >= enoughSlow:
		e.part(now)
	case e.apart && e.streak >= enoughShort:
		e.rejoin(now)
	}
}

// part makes the text apart. If it has come back only lately, the pause goes on to grow.
func (e *experience) part(now time.Time) {
	if e.pause == 0 || now.Sub(e.since) > 2*e.pause {
		e.pause = pauseFirst
	}
	e.apart, e.streak, e.since = true, 0, now
	e.next, e.asked, e.letIn, e.tries, e.heard = now.Add(e.pause), 0, 0, 0, trialSamples
}

func (e *experience) rejoin(now time.Time) {
	if e.locked {
		e.piped = now.Add(e.rest)
	}
	e.apart, e.locked, e.streak, e.since = false, false, 0, now
}

// mayTry reports that a call of a text that is apart may go into the queue, for a trial.
func (e *experience) mayTry(now time.Time) bool {
	e.asked++
	again := e.streak >= trialSamples && e.heard == trialSamples
	switch {
	case e.letIn > 0:
		e.letIn--
		return true
	case !again && (now.Before(e.next) || e.asked < trialCalls*trialShare):
		return false
	case !again:
		e.pause = min(2*e.pause, pauseMost)
	}
	e.next, e.asked, e.letIn, e.tries, e.heard = now.Add(e.pause), 0, trialSamples, trialCalls, 0
	return true
}

// waited notes that a call has waited for a lock, in the autocommit pipeline or in a transaction of several calls. A text
// whose calls have done so in the pipeline for as long as limit, each time, is apart.
func (e *experience) waited(pipeline bool, limit time.Duration, now time.Time) {
	e.window, e.lot = 1, 1
	if !pipeline {
		if now.Sub(e.piped) > restMost {
			e.rest = pauseFirst / 2
		}
		e.rest = min(2*e.rest, restMost)
		e.piped = now.Add(e.rest)
		return
	}
	e.streak = 0
	if e.waits++; e.waits == 1 {
		e.first = now
	}
	if e.waits < mostWaits || now.Sub(e.first) < limit {
		return
	}
	e.locked = true
	if !e.apart {
		e.part(now)
	}
}

// takes reports that one more of its calls may be in the transaction of the group that is being routed.
func (e *experience) takes(round int) bool {
	if e.lot == 0 {
		return true
	}
	if e.round != round {
		e.round, e.used = round, 0
	}
	e.used++
	return e.used <= e.lot
}

// passed notes that its calls of one group have not waited for a lock: twice as many may be in the next one.
func (e *experience) passed(pipeline bool) {
	n := &e.lot
	if pipeline {
		n = &e.window
		e.waits = 0
	}
	if *n *= 2; *n > windowMost {
		*n = 0
	}
}
