package bounded

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeTB notes how a test was ended.
type fakeTB struct {
	testing.TB
	end      string
	cleanups []func()
}

func (f *fakeTB) Helper()          {}
func (f *fakeTB) Name() string     { return "a test" }
func (f *fakeTB) Cleanup(g func()) { f.cleanups = append(f.cleanups, g) }
func (f *fakeTB) Fatalf(format string, args ...any) {
	f.end = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// ending is how a test ends that waits, and after how long.
func ending(wait func(TB)) (end string, after time.Duration) {
	f, began := new(fakeTB), time.Now()
	var done sync.WaitGroup
	done.Go(func() { wait(f) })
	done.Wait()
	return f.end, time.Since(began)
}

func TestAWaitInVainFailsAndSaysForWhat(t *testing.T) {
	for name, wait := range map[string]func(t TB, what string, never chan int){
		"a channel":   func(t TB, what string, never chan int) { Receive(t, what, never) },
		"a call":      func(t TB, what string, never chan int) { Wait(t, what, func() { <-never }) },
		"a condition": func(t TB, what string, _ chan int) { Until(t, what, func() bool { return false }) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				defer func() { inVain.waits = nil }()
				never := make(chan int)
				for _, limit := range []time.Duration{Patience, afterwards} {
					end, after := ending(func(t TB) { wait(t, "it has come", never) })
					if want := fmt.Sprintf("after %v still not: it has come", limit); end != want {
						t.Errorf("it ended with %q, and not with %q", end, want)
					}
					if after < limit || after > limit+time.Second {
						t.Errorf("it took %v", after)
					}
				}
				close(never)
			})
		})
	}
}

func TestWhatComesInTimeIsReceived(t *testing.T) {
	ch := make(chan int, 1)
	ch <- 7
	if got := Receive(t, "a number comes", ch); got != 7 {
		t.Errorf("received %d", got)
	}
	called := false
	Wait(t, "the call returns", func() { called = true })
	if !called {
		t.Error("not called")
	}
	n := 0
	Until(t, "it is the third time", func() bool { n++; return n == 3 })
	if n != 3 {
		t.Errorf("asked %d times", n)
	}
}

func TestATestThatHangsEndsTheProcess(t *testing.T) {
	if os.Getenv("BOUNDED_HANGS") != "" {
		whole.Store(1)
		Test(t)
		Test(t)
		ending(func(t TB) { fail(t, Patience, "it has come") })
		select {} // as a call that does not return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "BOUNDED_HANGS=1")
	out, err := cmd.CombinedOutput()
	for _, want := range []string{t.Name() + " has not ended after 1s", "a test: after 1m0s still not: it has come", "bounded_test.go"} {
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%v, without %q:\n%s", err, want, out)
		}
	}
}

func TestATestThatEndsIsNotBoundedAnyMore(t *testing.T) {
	f := new(fakeTB)
	Test(f)
	Test(f)
	if len(f.cleanups) != 1 {
		t.Fatalf("it is bounded %d times", len(f.cleanups))
	}
	if _, bounded := tests.Load(f); !bounded {
		t.Error("it is not bounded")
	}
	f.cleanups[0]()
	if _, bounded := tests.Load(f); bounded {
		t.Error("it is still bounded") // and the process goes on
	}
}
