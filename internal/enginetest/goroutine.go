package enginetest

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strconv"
	"testing"
	"time"
)

// settling is for how long goroutines may take to end after what they served.
const settling = 10 * time.Second

// noGoroutineOfTheStoryStays fails a story after whose cleanup one of its goroutines is left. They bear its name: a
// goroutine has the labels of the one that started it. So other stories may be told meanwhile.
func noGoroutineOfTheStoryStays(t *testing.T) {
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels("story", t.Name())))
	t.Cleanup(func() {
		pprof.SetGoroutineLabels(context.Background())
		if t.Failed() {
			return
		}
		for deadline := time.Now().Add(settling); ; time.Sleep(time.Millisecond) {
			n, stacks := goroutinesOf(t.Name())
			if n == 0 {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("%d goroutines of the story are left after it:\n%s", n, stacks)
				return
			}
		}
	})
}

// goroutinesOf counts the goroutines of a story in a profile. The profile has a paragraph for each place, which begins
// with the number of goroutines that are there and has their labels in a line.
func goroutinesOf(story string) (n int, stacks []byte) {
	var profile bytes.Buffer
	pprof.Lookup("goroutine").WriteTo(&profile, 1) // a Buffer has no errors
	labels := fmt.Appendf(nil, "\n# labels: {%q:%q}\n", "story", story)
	for place := range bytes.SplitSeq(profile.Bytes(), []byte("\n\n")) {
		if !bytes.Contains(place, labels) {
			continue
		}
		place = bytes.TrimSpace(place)
		if bytes.HasPrefix(place, []byte("goroutine profile:")) {
			_, place, _ = bytes.Cut(place, []byte("\n"))
		}
		count, _, _ := bytes.Cut(place, []byte(" "))
		here, err := strconv.Atoi(string(count))
		if err != nil {
			panic(fmt.Sprintf("a goroutine profile that cannot be read: %v\n%s", err, place))
		}
		n += here
		stacks = append(append(stacks, place...), "\n\n"...)
	}
	return n, stacks
}

// noGoroutineStays fails a suite after whose cleanup there are more goroutines than before it: a goroutine that a timer
// has started has no story.
func noGoroutineStays(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		if t.Failed() {
			return
		}
		for deadline := time.Now().Add(settling); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				stacks := make([]byte, 1<<20)
				stacks = stacks[:runtime.Stack(stacks, true)]
				t.Errorf("%d goroutines before the stories, %d after them:\n%s", before, runtime.NumGoroutine(), stacks)
				return
			}
		}
	})
}
