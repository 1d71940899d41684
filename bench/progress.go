package main

import (
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// bar shows the progress of a measurement on a terminal. It reads the measurement's own counter ten times a second, so it
// adds no work to the measured goroutines.
type bar struct {
	to io.Writer
	on bool
}

// watch shows how many of total have been begun, which next counts.
func (b bar) watch(title string, total int, next *atomic.Int64) (stop func()) {
	if !b.on || total == 0 {
		return func() {}
	}
	p := progressbar.NewOptions(total,
		progressbar.OptionSetWriter(b.to),
		progressbar.OptionSetDescription(title),
		progressbar.OptionShowCount(),
		progressbar.OptionClearOnFinish(),
	)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = p.Set(min(int(next.Load()), total-1)) // a bar that cannot be drawn is no reason to stop
			case <-quit:
				_ = p.Finish()
				return
			}
		}
	}()
	return func() { close(quit); <-done }
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
