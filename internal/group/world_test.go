package group

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// item is a member of the stories: its text says what it does.
type item struct {
	Slot[item]
	Future
	text   string
	answer string // the text, once it has been run: an answer that went to another item shows
	end    End
}

// script is a queue's world without a database: it writes down what it is asked, and does what the story says.
type script struct {
	mu     sync.Mutex
	log    []string
	inside int           // turns held now
	wait   time.Duration // patience
	over   time.Duration // overtime
	gate   chan struct{} // an item "plug" keeps the turn until it is closed

	onEnter func(ctx context.Context) error
	onRun   func(items []*item) Report
}

var (
	errImpatient = errors.New("waited for too long")
	errClosed    = errors.New("closed")
)

func (s *script) Enter(ctx context.Context, _ time.Time) error {
	if s.onEnter != nil {
		if err := s.onEnter(ctx); err != nil {
			return err
		}
	}
	s.turn(+1)
	return nil
}

func (s *script) Leave() { s.turn(-1) }

func (s *script) turn(by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inside += by; s.over == 0 && s.inside != 0 && s.inside != 1 {
		panic(fmt.Sprintf("%d turns at once", s.inside))
	}
}

func (s *script) Patience() (time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wait, errImpatient
}

// setWait sets the patience, which a watch may be asking for.
func (s *script) setWait(patience time.Duration) {
	s.mu.Lock()
	s.wait = patience
	s.mu.Unlock()
}

func (s *script) Overtime() time.Duration { return s.over }

func (s *script) Room() int { return math.MaxInt }

func (s *script) Run(items []*item) Report {
	what := "group"
	if len(items) == 1 {
		what = "alone"
	}
	s.note(what, items...)
	if s.onRun != nil {
		return s.onRun(items)
	}
	s.runAll(items)
	return Report{}
}

func (s *script) runAll(items []*item) {
	for _, i := range items {
		s.run(i)
	}
}

// run does what an item's text says.
func (s *script) run(i *item) {
	switch {
	case i.text == "plug":
		<-s.gate
	case strings.HasPrefix(i.text, "goexit"):
		runtime.Goexit()
	}
	i.answer = i.text
}

func (s *script) End(i *item) End { return i.end }

func (s *script) RunPutOff(i *item) {
	s.mu.Lock()
	s.log = append(s.log, "apart "+i.text)
	s.mu.Unlock()
	s.run(i)
}

func (s *script) note(what string, items ...*item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inside < 1 {
		what += " without a turn"
	}
	for _, i := range items {
		what += " " + i.text
	}
	s.log = append(s.log, what)
}

// ran is what was run, without the plug.
func (s *script) ran() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var log []string
	for _, line := range s.log {
		if line != "alone plug" {
			log = append(log, line)
		}
	}
	return log
}

// world is a queue in a scripted world.
type world struct {
	*Queue[item]
	t      *testing.T
	script *script
	plug   *answer
}

func newWorld(t *testing.T, change func(*Limits[item])) *world {
	l := Limits[item]{MaxLen: 1000, MaxBytes: 16 << 20, MaxQueue: 10_000, Closed: errClosed}
	if change != nil {
		change(&l)
	}
	s := &script{gate: make(chan struct{})}
	return &world{Queue: New(s, l), t: t, script: s}
}

// busy has a lone item keep the queue busy until release.
func (w *world) busy()    { w.plug = w.do(w.t.Context(), "plug") }
func (w *world) release() { close(w.script.gate); w.plug.ok(w.t) }

// answer is what a caller of Do got, once over is closed.
type answer struct {
	*item
	over  chan struct{}
	ended bool // regularly: not by runtime.Goexit
	err   error
}

// run is Do in the caller's goroutine.
func (w *world) run(ctx context.Context, text string) (string, error) {
	i := &item{text: text}
	i.Init(i, ctx, len(text))
	err := w.Do(&i.Slot)
	return i.answer, err
}

// do has a goroutine of its own do an item; it has come as far as it can when do returns.
func (w *world) do(ctx context.Context, text string) *answer {
	return w.doItem(ctx, &item{text: text})
}

func (w *world) doItem(ctx context.Context, i *item) *answer {
	a := &answer{item: i, over: make(chan struct{})}
	i.Init(i, ctx, len(i.text))
	go func() {
		defer close(a.over)
		a.err = w.Do(&i.Slot)
		a.ended = true
	}()
	synctest.Wait()
	return a
}

func (w *world) doAll(texts string) (as []*answer) {
	for _, text := range strings.Fields(texts) {
		as = append(as, w.do(w.t.Context(), text))
	}
	return as
}

// submit is Go, whose error settles the item as well.
func (w *world) submit(ctx context.Context, text string) *item {
	return w.submitItem(ctx, &item{text: text})
}

func (w *world) submitItem(ctx context.Context, i *item) *item {
	i.Init(i, ctx, len(i.text))
	if err := w.Go(&i.Slot, i); err != nil {
		i.err = err
		i.Settle()
	}
	return i
}

func (a *answer) ok(t *testing.T) {
	t.Helper()
	await(t, a.over)
	require.NoError(t, a.err, a.text)
	require.True(t, a.ended, a.text)
	require.Equal(t, a.text, a.answer)
}

func (a *answer) fails(t *testing.T, err error) {
	t.Helper()
	await(t, a.over)
	require.ErrorIs(t, a.err, err, a.text)
	require.Empty(t, a.answer)
	require.False(t, a.Claimed())
}

// ok waits for a detached item's answer.
func (i *item) ok(t *testing.T) {
	t.Helper()
	await(t, i.Done())
	require.NoError(t, i.Err(), i.text)
	require.Equal(t, i.text, i.answer)
	require.True(t, i.Claimed())
}

func (i *item) fails(t *testing.T, err error) {
	t.Helper()
	await(t, i.Done())
	require.ErrorIs(t, i.Err(), err, i.text)
	require.Empty(t, i.answer)
	require.False(t, i.Claimed())
}

func allOK(t *testing.T, as []*answer) {
	t.Helper()
	for _, a := range as {
		a.ok(t)
	}
}

// await bounds the waiting of a story; in a bubble a day is over at once.
func await(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(24 * time.Hour):
		require.Fail(t, "it waits for ever")
	}
}

func isOver(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func goroutine() string {
	buf := make([]byte, 64)
	return strings.Fields(string(buf[:runtime.Stack(buf, false)]))[1]
}
