// Package bounded waits in tests. A test that waits for what never comes fails and says what it waited for; without a
// bound, it would be go test's own limit that ends all tests.
package bounded

import (
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// TB is what this package needs of a testing.TB.
type TB interface {
	Helper()
	Name() string
	Cleanup(func())
	Fatalf(format string, args ...any)
}

const (
	// Patience is for how long a test waits for one thing: far longer than anything takes on a loaded machine.
	Patience = time.Minute
	// afterwards is for how long it waits when another wait of this process was in vain. The tests have failed then, and
	// what they still have to say must not take as long each.
	afterwards = 10 * time.Second
)

// whole bounds a test, in seconds, for what it waits for without this package: an Exec that does not return.
var whole atomic.Int64

func init() { whole.Store(3 * 60) }

// inVain are the waits that were in vain, a line each.
var inVain struct {
	sync.Mutex
	waits []string
}

func patience() time.Duration {
	inVain.Lock()
	defer inVain.Unlock()
	if len(inVain.waits) > 0 {
		return afterwards
	}
	return Patience
}

func fail(t TB, waited time.Duration, what string) {
	t.Helper()
	sentence := fmt.Sprintf("after %v still not: %s", waited, what)
	inVain.Lock()
	inVain.waits = append(inVain.waits, t.Name()+": "+sentence)
	inVain.Unlock()
	t.Fatalf("%s", sentence)
}

// Receive is <-ch. The clause what says what it means that there is something to receive: "the handler has begun".
func Receive[T any](t TB, what string, ch <-chan T) (v T) {
	t.Helper()
	limit := patience()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case v = <-ch:
	case <-timer.C:
		fail(t, limit, what)
	}
	return v
}

// Wait calls wait, which returns when what is so. If it does not return in time, its goroutine stays.
func Wait(t TB, what string, wait func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		wait()
	}()
	Receive(t, what, done)
}

// Until waits until holds says that what is so.
func Until(t TB, what string, holds func() bool) {
	t.Helper()
	limit := patience()
	for began := time.Now(); !holds(); {
		waited := time.Since(began)
		if waited > limit {
			fail(t, limit, what)
		}
		time.Sleep(min(max(waited/10, 50*time.Microsecond), 5*time.Millisecond)) // a condition may be a query
	}
}

// tests are those that are bounded, by their TB. A watch outside of all tests counts their time: the clock of a bubble of
// testing/synctest goes on by itself.
var tests sync.Map // of *atomic.Int64: how many seconds it has been there

func init() { go watch() }

func watch() {
	for range time.Tick(time.Second) {
		tests.Range(func(t, seconds any) bool {
			if limit := whole.Load(); seconds.(*atomic.Int64).Add(1) > limit {
				inVain.Lock()
				all := strings.Join(inVain.waits, "\n\t")
				debug.SetTraceback("all")
				panic(fmt.Sprintf("%s has not ended after %v: see where it waits\n\t%s", t.(TB).Name(), time.Duration(limit)*time.Second, all))
			}
			return true
		})
	}
}

// Test bounds the rest of a test: if it has not ended after three minutes, the process ends and shows where all goroutines
// are, and what tests have waited for in vain, which they would tell at their end only. A goroutine that hangs cannot be
// ended alone. Test may be called again.
func Test(t TB) {
	if _, again := tests.LoadOrStore(t, new(atomic.Int64)); !again {
		t.Cleanup(func() { Release(t) })
	}
}

// Release takes Test's bound from a test that may take as long as it likes.
func Release(t TB) { tests.Delete(t) }
