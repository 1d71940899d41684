package group

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// storm is a world that does anything that a runner may do, at random.
type storm struct {
	script
	queue *Queue[item]
}

var errStorm = errors.New("refused")

func (s *storm) Enter(ctx context.Context, since time.Time) error {
	if rand.IntN(50) == 0 {
		return errStorm
	}
	return s.script.Enter(ctx, since)
}

func (s *storm) Run(items []*item) Report {
	if s.over > 0 && len(items) == 1 {
		time.Sleep(time.Duration(rand.IntN(3)) * s.over) // about as long as the lead is kept
	}
	report := Report{Commit: time.Duration(rand.IntN(200)) * time.Microsecond, Reruns: rand.IntN(2)}
	var kept []*item
	for _, i := range items {
		i.end = Answered
		switch rand.IntN(10) {
		case 0:
			i.end = PutOff
		case 1:
			if i.detached != nil {
				i.end = Kept
				kept = append(kept, i)
			}
		}
		if i.end == Answered {
			i.answer += i.text
		}
		runtime.Gosched()
	}
	if len(kept) > 0 {
		s.queue.Reserve(len(kept))
		report.Then = func() {
			runtime.Gosched()
			s.queue.Reserve(-len(kept))
			for _, i := range kept {
				i.answer += i.text
				i.Settle()
				s.queue.Release()
			}
		}
	}
	return report
}

func (s *storm) RunPutOff(i *item) { i.answer += i.text }

func TestInAStormEveryMemberIsToldOnceWithTheTruth(t *testing.T) {
	for name, story := range map[string]struct {
		change func(*Limits[item])
		over   time.Duration
		wait   time.Duration
	}{
		"defaults":     {},
		"small groups": {change: func(l *Limits[item]) { l.MaxLen = 3 }},
		"small queue":  {change: func(l *Limits[item]) { l.MaxQueue, l.MaxBytes = 2, 60 }},
		"delay":        {change: func(l *Limits[item]) { l.MaxDelay, l.MaxLen = 50*time.Microsecond, 4 }},
		"abreast":      {change: func(l *Limits[item]) { l.MaxLen = 3 }, over: time.Microsecond},
		"impatient":    {change: func(l *Limits[item]) { l.MaxLen = 3 }, wait: 20 * time.Microsecond},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, story.change)
			s := &storm{script: script{over: story.over, wait: story.wait}}
			w.Queue = New[item](s, w.limits)
			s.queue = w.Queue
			var all sync.WaitGroup
			for g := range 16 {
				all.Go(func() {
					for i := range 200 {
						w.weather(fmt.Sprintf("%d/%d", g, i))
					}
				})
			}
			all.Wait()
			w.Close()
			stats := w.Stats()
			assert.Zero(t, stats.Queued)
			assert.Zero(t, s.inside)
			assert.Nil(t, w.queue.first)
			assert.Zero(t, w.bytes)
			assert.Zero(t, w.reserved)
			assert.Zero(t, w.leaders)
		})
	}
}

// weather has one member run under some context, in one way or the other, and compares what it is told with what became of it.
func (w *world) weather(text string) {
	ctx, cancel := context.Background(), func() {}
	switch rand.IntN(4) {
	case 0:
		ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(300))*time.Microsecond)
	case 1:
		ctx, cancel = context.WithCancel(ctx)
		go cancel()
	}
	defer cancel()
	i := &item{text: text}
	i.Init(i, ctx, len(text))
	var err error
	if rand.IntN(2) == 0 {
		if err = w.Go(&i.Slot, i); err == nil {
			<-i.Done()
			err = i.Err()
		}
	} else {
		err = w.Do(&i.Slot)
	}
	if err == nil {
		assert.Equal(w.t, text, i.answer, "it was to be run once")
		assert.True(w.t, i.Claimed())
	} else {
		assert.Empty(w.t, i.answer, "%s was run, and told %v", text, err)
		assert.False(w.t, i.Claimed())
	}
}
