package enginetest

import (
	"context"
	"runtime/pprof"
	"sync"
	"testing"
)

func TestTheGoroutinesOfAStoryAreCounted(t *testing.T) {
	ending := make(chan struct{})
	var all sync.WaitGroup
	defer all.Wait()
	defer close(ending)
	stay := func() { <-ending }
	all.Go(stay) // before the story
	t.Run("a \"story\", ä", func(t *testing.T) {
		pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels("story", t.Name())))
		for n := range 3 {
			if got, stacks := goroutinesOf(t.Name()); got != 1+2*n {
				t.Errorf("%d of %d goroutines:\n%s", got, 1+2*n, stacks)
			}
			started := make(chan struct{}, 2)
			all.Go(func() {
				all.Go(func() { started <- struct{}{}; stay() })
				started <- struct{}{}
				stay()
			})
			<-started
			<-started
		}
		pprof.SetGoroutineLabels(context.Background())
	})
	if got, _ := goroutinesOf("another"); got != 0 {
		t.Errorf("%d goroutines of another story", got)
	}
}
